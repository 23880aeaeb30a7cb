"""Threads that watch; what they report is in tests/node/test_companion_watcher.py."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from csidriver.core.broker.pod_access import PodRef
from csidriver.core.names import SourceRef
from csidriver.errors import InvalidSecret, StoreUnavailable
from csidriver.node.companions.secret_watches import SecretWatches
from tests.node.companions.nodes import States
from tests.node.plugin import SOURCE, TOKENS, eventually, follow_threads
from tests.node.test_companion_watcher import Scripted, secret

POD = PodRef("alice", "pod-1", "u-1")


@pytest.fixture
def store() -> Scripted:
    return Scripted()


@pytest.fixture
def watches(store: Scripted) -> Iterator[SecretWatches]:
    yield SecretWatches(store, TOKENS, pause=lambda *_: 0.0)
    eventually(lambda: not follow_threads(), "the end of the watches")


def test_pods_of_a_source_share_a_watch_that_ends_with_the_last(
    watches: SecretWatches, store: Scripted
) -> None:
    first, second = States(), States()
    ends = [watches.follow(SOURCE, POD, first.take), watches.follow(SOURCE, POD, second.take)]
    store.words.put(secret("at-1", 1))
    first.generation(1)
    second.generation(1)
    ends[0]()
    ends[0]()
    store.words.put(secret("at-2", 2))
    second.generation(2)
    late = States()
    ends.append(watches.follow(SOURCE, POD, late.take))
    assert late.generation(2) is late.states[0], "who comes later gets the newest state"
    assert (len(store.asked), len(follow_threads()), len(first.states)) == (1, 1, 1)
    for end in ends[1:]:
        end()


def test_only_what_changes_while_it_is_watched_is_live(
    watches: SecretWatches, store: Scripted
) -> None:
    live: list[bool] = []
    states = States()

    def take(state: object, *, live: bool, seen: list[bool] = live) -> None:
        seen.append(live)
        states.receive(state)  # type: ignore[arg-type]

    end = watches.follow(SOURCE, POD, take)
    for word in (secret("at-1", 1), secret("at-2", 2), StoreUnavailable("x"), secret("at-3", 3)):
        store.words.put(word)
    states.generation(3)
    assert live == [False, True, False, False]
    end()


def test_a_companion_of_another_source_is_never_reported(
    watches: SecretWatches, store: Scripted
) -> None:
    states = States()
    end = watches.follow(SOURCE, POD, states.take)
    store.words.put(secret("at-1", 1, source=SourceRef("bob", SOURCE.name)))
    error = states.until(lambda state: isinstance(state, InvalidSecret))
    assert "belongs to bob/" in str(error)
    end()


def test_each_source_has_a_thread(watches: SecretWatches) -> None:
    other = replace(SOURCE, name="other")
    ends = [watches.follow(ref, POD, States().take) for ref in (SOURCE, other)]
    assert len(follow_threads()) == 2
    for end in ends:
        end()


def test_who_comes_later_gets_the_error_of_the_watch(
    watches: SecretWatches, store: Scripted
) -> None:
    first, late = States(), States()
    ends = [watches.follow(SOURCE, POD, first.take)]
    store.words.put(StoreUnavailable("away"))
    error = first.until(lambda state: isinstance(state, StoreUnavailable))
    ends.append(watches.follow(SOURCE, POD, late.take))
    assert late.states == [error]
    for end in ends:
        end()
