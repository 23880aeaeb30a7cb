import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csidriver.adapters.kubernetes.json_stream import MAX_OBJECT_BYTES, ListItemStream, lines
from csidriver.errors import StoreUnavailable

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=10,
)
OBJECTS = st.dictionaries(st.text(st.characters(codec="utf-8")), VALUES, max_size=3)


@given(
    items=st.lists(OBJECTS, max_size=4),
    metadata=OBJECTS,
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    ascii_only=st.booleans(),
)
def test_a_list_may_come_in_any_pieces(
    *, items: list[dict[str, Any]], metadata: dict[str, Any], sizes: list[int], ascii_only: bool
) -> None:
    document = {"kind": "List", "count": 12, "metadata": metadata, "items": items, "end": 34}
    raw = json.dumps(document, ensure_ascii=ascii_only).encode()
    pieces: list[bytes] = []
    at = 0
    while at < len(raw):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(raw[at : at + size])
        at += size
    found = ListItemStream(pieces)
    assert list(found) == items
    assert found.metadata == metadata


def test_lines_may_come_in_any_pieces() -> None:
    assert list(lines([b"a", b"b\n\nc\n", b"d"])) == [b"ab", b"c"]
    with pytest.raises(StoreUnavailable):
        list(lines([b"x" * MAX_OBJECT_BYTES, b"x"]))
