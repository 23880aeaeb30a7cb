"""The user's terminal. Texts of others cannot control it."""

import contextlib
import getpass
import os
import shutil
import sys
from typing import TextIO

from csidriver.core.sensitive import Sensitive
from csidriver.kubectl.errors import OutputFailed


class Terminal:
    """Standard output for results, standard error for everything else."""

    def __init__(self, out: TextIO | None = None, err: TextIO | None = None) -> None:
        # None where the shell has closed it.
        self._out: TextIO | None = out or sys.stdout
        self._err: TextIO | None = err or sys.stderr

    @property
    def is_interactive(self) -> bool:
        """Return whether somebody can answer a question."""
        return sys.stdin is not None and sys.stdin.isatty() and self._has_screen

    @property
    def _has_screen(self) -> bool:
        return self._err is not None and self._err.isatty()

    @property
    def width(self) -> int:
        return shutil.get_terminal_size().columns

    def print(self, text: str = "") -> None:
        """Print a line of a result; raise OutputFailed if it gets lost."""
        if self._out is None:
            raise OutputFailed("standard output is closed")
        try:
            self._write(self._out, printable(text))
        except BrokenPipeError:
            raise
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            raise OutputFailed(f"standard output cannot be written: {reason}") from None

    def report(self, text: str = "") -> None:
        """Print a line about what happens."""
        self._say(printable(text) + "\n")

    def draw(self, text: str) -> None:
        """Print lines of our own that may contain control sequences, such as a picture."""
        self._say(text + "\n")

    def ask(self, question: str) -> str:
        """Return what the user types; raises EOFError if nobody can."""
        self._say(printable(question))
        try:
            line = "" if sys.stdin is None else sys.stdin.readline()
        except UnicodeDecodeError:
            raise EOFError from None
        if not line:
            raise EOFError
        return line.strip()

    def ask_secret(self, question: str) -> Sensitive:
        """Return what the user types, which the terminal does not show."""
        return Sensitive(getpass.getpass(printable(question), self._err))

    def _say(self, text: str) -> None:
        # What cannot be said must not end a login.
        if self._err is not None:
            with contextlib.suppress(OSError):
                self._err.write(encodable(text, self._err.encoding))
                self._err.flush()

    @staticmethod
    def _write(stream: TextIO, text: str) -> None:
        stream.write(encodable(text, stream.encoding) + "\n")
        stream.flush()


def printable(text: str) -> str:
    """Return the text with an escape for each character that could control a terminal."""
    return "".join(
        char if char in "\n\t" or char.isprintable() else char.encode("unicode_escape").decode()
        for char in text
    )


def encodable(text: str, encoding: str | None) -> str:
    """Return the text with an escape for each character that the terminal cannot show."""
    return text.encode(encoding or "utf-8", "backslashreplace").decode(encoding or "utf-8")
