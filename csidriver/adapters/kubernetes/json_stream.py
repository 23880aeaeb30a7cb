"""Incremental JSON: the items of a list one by one, the lines of a watch.

At most one item is in memory, so that neither many Secrets nor large ones need much of it.
"""

import codecs
import contextlib
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from csidriver.errors import StoreUnavailable

# An object has at most 1.5 MiB in etcd; base64 and metadata are added to that.
MAX_OBJECT_BYTES = 4 << 20
# The first such field is that of the list: no earlier one contains a list of this name.
_BEGIN = re.compile(r'"items"\s*:\s*\[')
_NEXT = re.compile(r"[\s,]*(\]?)")


class ListItemStream:
    """Yields the items of a list once; after that, `metadata` of the list is complete."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self.metadata: dict[str, Any] = {}
        self._chunks = iter(chunks)
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._decoder = json.JSONDecoder()
        self._text = ""
        self._at = 0  # where the part begins that is not consumed

    def __iter__(self) -> Iterator[dict[str, Any]]:
        begin, head = None, ""
        while begin is None and self._read_more():
            begin = _BEGIN.search(self._text)
        if begin is not None:
            head, self._at = self._text[: begin.end()], begin.end()
            yield from self._items()
        # To its very end, so that its connection can be used again.
        while self._read_more():
            pass
        self.metadata = parse_object(head + self._text[self._at :]).get("metadata") or {}

    def _items(self) -> Iterator[dict[str, Any]]:
        while True:
            following = _NEXT.match(self._text, self._at)
            if following is not None and following[1]:
                return
            item, end = self._decode(following.end() if following else self._at)
            if end:
                self._at = end
                yield item
            elif not self._read_more():
                raise StoreUnavailable("a response of the API server ends too soon")

    def _decode(self, at: int) -> tuple[Any, int]:
        """Return the item at a position and its end, 0 if more of it must be read."""
        try:
            item, end = self._decoder.raw_decode(self._text, at)
        except (ValueError, RecursionError):
            # Not chained to anything: the foreign error contains the text.
            return None, 0
        if not isinstance(item, dict):
            raise StoreUnavailable("a list of the API server has an item that is not an object")
        return item, end

    def _read_more(self) -> bool:
        """Double the text that is not consumed, so that a long item is not parsed too often.

        Return False at the end.
        """
        self._text, self._at = self._text[self._at :], 0
        pending = len(self._text)
        if pending > MAX_OBJECT_BYTES:
            raise StoreUnavailable(
                f"an item of the API server has over {MAX_OBJECT_BYTES} characters"
            )
        parts: list[str] = []
        while sum(map(len, parts)) <= pending and (chunk := next(self._chunks, b"")):
            parts.append(self._utf8.decode(chunk))
        self._text += "".join(parts)
        return bool(parts)


def parse_object(text: str | bytes) -> dict[str, Any]:
    document: object = None
    # The error of json contains the text and must not stay attached to ours.
    with contextlib.suppress(ValueError, RecursionError):
        document = json.loads(text)
    if not isinstance(document, dict):
        problem = "is not a JSON object, or is too long"
        raise StoreUnavailable(f"a response of the API server {problem}")
    return document


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
