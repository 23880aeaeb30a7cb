import threading

from hypothesis import given, settings
from hypothesis import strategies as st

from csidriver.core.names import SourceRef
from csidriver.core.refresh.effects import Duplicate
from csidriver.refresher.duplicate_index import DuplicateIndex

A, B, C = (SourceRef("ns", name) for name in "abc")


def test_tokens_that_share_a_name_meet() -> None:
    names = DuplicateIndex()
    names.update(A, 1.0, ["x", "y"])
    names.update(B, 2.0, ["z"])
    assert names.find_and_update(C, 3.0, ["y", "z", "c"]) == (Duplicate(1.0, A), Duplicate(2.0, B))
    assert names.find_and_update(A, 1.0, ["x"]) == ()


def test_asking_announces() -> None:
    names = DuplicateIndex()
    assert names.find_and_update(A, 1.0, ["x"]) == ()
    assert names.find_and_update(B, 2.0, ["x"]) == (Duplicate(1.0, A),)


def test_names_that_are_gone_are_forgotten() -> None:
    names = DuplicateIndex()
    for ref in (A, B, C):
        names.update(ref, 1.0, ["x"])
    names.update(A, 1.0, ["fresh"])
    names.remove(B)
    names.remove(B)
    assert names.find_and_update(SourceRef("ns", "d"), 4.0, ["x", "fresh"]) == (
        Duplicate(1.0, A),
        Duplicate(1.0, C),
    )
    for ref in (A, C, SourceRef("ns", "d")):
        names.remove(ref)
    assert (names._owners, names._other_owners, names._tokens) == ({}, {}, {})


def test_of_two_that_ask_at_once_one_learns_of_the_other() -> None:
    for _ in range(50):
        names, together = DuplicateIndex(), threading.Barrier(2)
        seen: list[bool] = []

        def ask(ref: SourceRef, names: DuplicateIndex = names, seen: list[bool] = seen) -> None:
            together.wait()  # noqa: B023 - joined before the next round
            seen.append(bool(names.find_and_update(ref, 1.0, ["x"])))

        threads = [threading.Thread(target=ask, args=(ref,)) for ref in (A, B)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(seen) == [False, True]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([A, B, C]), st.frozensets(st.sampled_from("uvwxyz"))), max_size=20
    )
)
def test_the_index_says_what_a_search_would(steps: list[tuple[SourceRef, frozenset[str]]]) -> None:
    names, plain = DuplicateIndex(), dict[SourceRef, frozenset[str]]()
    for ref, held in steps:
        if held:
            plain[ref] = held
            met = {other.ref for other in names.find_and_update(ref, 1.0, held)}
            assert met == {o for o, theirs in plain.items() if o != ref and theirs & held}
        else:
            plain.pop(ref, None)
            names.remove(ref)
