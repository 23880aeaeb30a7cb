"""The head of an HTTP response, where `http.client` reads less than RFC 9110 and 9112 ask for.

What it leaves unread contains tokens that exist nowhere else.
"""

import http.client
import re
from http import HTTPStatus
from typing import Any

# The end, the continuation of a line, or a field.
_LINE = re.compile(rb"\r?\n|$|[ \t]|[!-9;-~]+:")
_BLANK_BEFORE_COLON = re.compile(rb"^([!-9;-~]+)[ \t]+:")


class Response(http.client.HTTPResponse):
    """Skips interim responses and lines that are no fields."""

    def begin(self) -> None:
        """Read the head of the final response: RFC 9110 section 15.2 allows any 1xx before it."""
        complete = self.fp
        self.fp = _HeadLines(complete)  # type: ignore[assignment]
        try:
            super().begin()
            while self.status < HTTPStatus.OK and self.status != HTTPStatus.SWITCHING_PROTOCOLS:
                self.headers = None  # type: ignore[assignment] # or it would read no more
                super().begin()
        finally:
            self.fp = complete


class _HeadLines:
    """Lines of a head, mended: after a broken one the parser would ignore all the others."""

    def __init__(self, complete: Any) -> None:
        self._complete = complete
        self._begins = True

    def readline(self, limit: int) -> bytes:
        """Drop the blanks before a colon (RFC 9112 section 5.1), and lines without one."""
        line = b"-"
        while not _LINE.match(line):
            line = _BLANK_BEFORE_COLON.sub(rb"\1:", self._complete.readline(limit))
            if self._begins:
                break  # the status line
        self._begins = not line.strip()  # that of the response after an interim one
        return line

    def close(self) -> None:
        self._complete.close()
