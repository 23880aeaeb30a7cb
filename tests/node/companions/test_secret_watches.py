"""Threads that watch; what they report is in tests/node/test_companion_watcher.py."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from csidriver.core.broker.pod_access import PodRef
from csidriver.core.names import SourceRef
from csidriver.errors import InvalidSecret
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
    yield SecretWatches(store, TOKENS, pause=0.0)
    eventually(lambda: not follow_threads(), "the end of the watches")


def test_pods_of_a_source_share_a_watch_that_ends_with_the_last(
    watches: SecretWatches, store: Scripted
) -> None:
    first, second = States(), States()
    ends = [watches.follow(SOURCE, POD, first.receive), watches.follow(SOURCE, POD, second.receive)]
    store.words.put(secret("at-1", 1))
    first.generation(1)
    second.generation(1)
    ends[0]()
    store.words.put(secret("at-2", 2))
    second.generation(2)
    assert (len(store.asked), len(follow_threads()), len(first.states)) == (1, 1, 1)
    ends[1]()
    eventually(lambda: not follow_threads(), "the end of the watch")
    ends = [watches.follow(SOURCE, POD, first.receive)]
    store.words.put(secret("at-3", 3))
    first.generation(3)
    ends[0]()


def test_a_companion_of_another_source_is_never_reported(
    watches: SecretWatches, store: Scripted
) -> None:
    states = States()
    end = watches.follow(SOURCE, POD, states.receive)
    store.words.put(secret("at-1", 1, source=SourceRef("bob", SOURCE.name)))
    error = states.until(lambda state: isinstance(state, InvalidSecret))
    assert "belongs to bob/" in str(error)
    end()


def test_each_source_has_a_thread(watches: SecretWatches) -> None:
    other = replace(SOURCE, name="other")
    ends = [watches.follow(ref, POD, States().receive) for ref in (SOURCE, other)]
    assert len(follow_threads()) == 2
    for end in ends:
        end()
