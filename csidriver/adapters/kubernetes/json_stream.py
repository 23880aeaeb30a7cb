"""JSON as it comes over the wire: the items of a list one by one, the lines of a watch.

Never more than one item is in memory, so neither many Secrets nor large ones make us large.
"""

import codecs
import json
from collections.abc import Iterable, Iterator
from typing import Any

from csidriver.errors import StoreUnavailable

# An object has at most 1.5 MiB in etcd; base64 and metadata come on top.
MAX_OBJECT_BYTES = 4 << 20
_CONSUMED = 1 << 16  # characters kept before they are let go of


class ListItemStream:
    """The items of a list, whole objects, once; `metadata` of the list is complete after them."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self.metadata: dict[str, Any] = {}
        self._chunks = iter(chunks)
        self._cursor = _JsonCursor(self._chunks)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        text = self._cursor
        text.expect("{")
        while text.symbol() != "}":
            key = text.value()
            text.expect(":")
            if key == "items" and text.symbol() == "[":
                yield from self._items()
            else:
                value = text.value()
                if key == "metadata" and isinstance(value, dict):
                    self.metadata = value
            if text.symbol() != "}":
                text.expect(",")
        # To its very end, so that its connection can be used again.
        for _ in self._chunks:
            pass

    def _items(self) -> Iterator[dict[str, Any]]:
        text = self._cursor
        text.expect("[")
        while text.symbol() != "]":
            element = text.value()
            if not isinstance(element, dict):
                raise StoreUnavailable("a list of the API server has no proper items")
            yield element
            if text.symbol() != "]":
                text.expect(",")
        text.expect("]")


def lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a stream, without their ends; raises StoreUnavailable if one is too long."""
    rest = bytearray()
    for chunk in chunks:
        *ended, begun = chunk.split(b"\n")
        for end in ended:
            rest += end
            if rest.strip():
                yield bytes(rest)
            rest.clear()
        rest += begun
        if len(rest) > MAX_OBJECT_BYTES:
            raise StoreUnavailable(f"an event of the API server has over {MAX_OBJECT_BYTES} bytes")


class _JsonCursor:
    """What has come of a JSON text and is not consumed yet."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._decoder = json.JSONDecoder()
        self._text = ""
        self._at = 0

    def symbol(self) -> str:
        """The next character that is no white space."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in " \t\r\n":
                    return self._text[self._at]
                self._at += 1
            self._read_more()

    def expect(self, symbol: str) -> None:
        """Pass over this one character."""
        if self.symbol() != symbol:
            raise StoreUnavailable("an answer of the API server is no JSON list")
        self._at += 1

    def value(self) -> Any:
        """The next value, however long it takes to come."""
        self.symbol()
        while True:
            end, value = self._decode()
            # A number at the end of what has come may have further digits.
            if end is not None and end < len(self._text):
                self._at = end
                return value
            self._read_more()

    def _decode(self) -> tuple[int | None, Any]:
        try:
            value, end = self._decoder.raw_decode(self._text, self._at)
        except (ValueError, RecursionError):
            # Not chained to anything: the foreign error holds the text.
            return None, None
        return end, value

    def _read_more(self) -> None:
        """Take at least as much as is pending, so that a long value is not parsed too often."""
        if self._at > _CONSUMED:
            self._text, self._at = self._text[self._at :], 0
        pending = len(self._text) - self._at
        if pending > MAX_OBJECT_BYTES:
            raise StoreUnavailable(
                f"an item of the API server has over {MAX_OBJECT_BYTES} characters"
            )
        parts: list[str] = []
        while sum(map(len, parts)) <= pending:
            chunk = next(self._chunks, b"")
            if not chunk:
                break
            parts.append(self._utf8.decode(chunk))
        if not parts:
            raise StoreUnavailable("an answer of the API server ends too soon")
        self._text += "".join(parts)
