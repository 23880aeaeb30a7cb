"""Incremental JSON: the items of a list one by one, the lines of a watch.

At most one item is in memory, so that neither many Secrets nor large ones need much of it.
"""

import codecs
import json
from collections.abc import Iterable, Iterator
from typing import Any

from csidriver.errors import StoreUnavailable

# An object has at most 1.5 MiB in etcd; base64 and metadata are added to that.
MAX_OBJECT_BYTES = 4 << 20
_MAX_CONSUMED = 1 << 16  # consumed characters that are kept before they are dropped


class ListItemStream:
    """Yields the items of a list once; after that, `metadata` of the list is complete."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self.metadata: dict[str, Any] = {}
        self._chunks = iter(chunks)
        self._cursor = _JsonCursor(self._chunks)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        cursor = self._cursor
        cursor.expect("{")
        while cursor.symbol() != "}":
            key = cursor.value()
            cursor.expect(":")
            if key == "items" and cursor.symbol() == "[":
                yield from self._items()
            else:
                value = cursor.value()
                if key == "metadata" and isinstance(value, dict):
                    self.metadata = value
            if cursor.symbol() != "}":
                cursor.expect(",")
        # To its very end, so that its connection can be used again.
        for _ in self._chunks:
            pass

    def _items(self) -> Iterator[dict[str, Any]]:
        cursor = self._cursor
        cursor.expect("[")
        while cursor.symbol() != "]":
            item = cursor.value()
            if not isinstance(item, dict):
                raise StoreUnavailable("a list of the API server has an item that is not an object")
            yield item
            if cursor.symbol() != "]":
                cursor.expect(",")
        cursor.expect("]")


def lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines of a stream, without line ends and empty lines; raises StoreUnavailable."""
    line = bytearray()
    for chunk in chunks:
        *ends, begin = chunk.split(b"\n")
        for end in ends:
            line += end
            if line.strip():
                yield bytes(line)
            line.clear()
        line += begin
        if len(line) > MAX_OBJECT_BYTES:
            raise StoreUnavailable(f"an event of the API server has over {MAX_OBJECT_BYTES} bytes")


class _JsonCursor:
    """A position in a JSON text that is read as far as needed."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._decoder = json.JSONDecoder()
        self._text = ""
        self._at = 0

    def symbol(self) -> str:
        """Return the next character that is not white space."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in " \t\r\n":
                    return self._text[self._at]
                self._at += 1
            self._read_more()

    def expect(self, symbol: str) -> None:
        if self.symbol() != symbol:
            raise StoreUnavailable("a response of the API server is not a JSON list")
        self._at += 1

    def value(self) -> Any:
        self.symbol()
        while True:
            end, value = self._decode()
            # A number at the end of the text may have further digits.
            if end is not None and end < len(self._text):
                self._at = end
                return value
            self._read_more()

    def _decode(self) -> tuple[int | None, Any]:
        try:
            value, end = self._decoder.raw_decode(self._text, self._at)
        except (ValueError, RecursionError):
            # Not chained to anything: the foreign error contains the text.
            return None, None
        return end, value

    def _read_more(self) -> None:
        """Double the text that is not consumed, so that a long value is not parsed too often."""
        if self._at > _MAX_CONSUMED:
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
            raise StoreUnavailable("a response of the API server ends too soon")
        self._text += "".join(parts)
