from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from csidriver.core.names import SourceRef
from csidriver.core.refresh.effects import Duplicate
from csidriver.core.refresh.state import TokenState
from csidriver.refresher.duplicate_index import DuplicateIndex
from tests.core.refresh.grants import ADOPTED

A, B, C = (SourceRef("ns", name) for name in "abc")


def test_a_withheld_grant_has_its_place_and_no_login() -> None:
    index = DuplicateIndex()
    state = TokenState(ADOPTED.ref, grant=ADOPTED)
    index.track(state)
    assert index.find_and_update(A, 9e9, [ADOPTED.live_hash])
    index.track(replace(state, grant_withheld=True))
    assert not index.find_and_update(A, 9e9, [ADOPTED.live_hash])
    assert index.reserve(ADOPTED.ref, 0)


def test_a_token_without_a_grant_has_its_place_while_it_waits() -> None:
    index, waiting = DuplicateIndex(), TokenState(A, requeue_at=60.0)
    assert index.reserve(A, 1)
    index.track(waiting)
    assert not index.reserve(B, 1)
    index.track(replace(waiting, requeue_at=None))
    assert index.reserve(B, 1)


def test_a_namespace_gets_so_many_and_no_more() -> None:
    index = DuplicateIndex()
    index.find_and_update(A, 1.0, ["x"])
    assert index.reserve(B, 2)
    assert index.reserve(B, 2), "it has its place"
    assert not index.reserve(C, 2)
    assert index.reserve(SourceRef("other", "c"), 2)
    assert index.find_and_update(B, 2.0, ["x"]) == (Duplicate(1.0, A),)
    index.remove(A)
    assert index.reserve(C, 2)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([A, B, C]), st.frozensets(st.sampled_from("uvwxyz"))), max_size=20
    )
)
def test_the_index_says_what_a_search_would(steps: list[tuple[SourceRef, frozenset[str]]]) -> None:
    index, plain = DuplicateIndex(), dict[SourceRef, frozenset[str]]()
    for ref, held in steps:
        if held:
            plain[ref] = held
            met = {other.ref for other in index.find_and_update(ref, 1.0, held)}
            assert met == {o for o, theirs in plain.items() if o != ref and theirs & held}
        else:
            plain.pop(ref, None)
            index.remove(ref)
    for ref in (A, B, C):
        index.remove(ref)
    assert (index._owners, index._other_owners, index._tokens) == ({}, {}, {})
    assert not index._counts.total()
