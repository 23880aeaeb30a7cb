import queue
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client import CollectorRegistry

from csidriver.core import annotations
from csidriver.core.broker.pod_access import PodRef
from csidriver.core.companion import MAX_ACCESS_TOKEN
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import SourceRef
from csidriver.errors import InvalidSecret, StoreError, StoreRefused, StoreUnavailable
from csidriver.node.companion_watcher import CompanionWatcher
from csidriver.node.companions.secret_watches import SecretWatches
from csidriver.node.metrics import NodeMetrics
from tests.node.plugin import (
    SOURCE,
    TIMEOUT,
    TOKENS,
    companion,
    eventually,
    follow_threads,
    token,
)

END = "end"
POD = PodRef("alice", "pod-1", "uid-of-pod-1")


class Scripted:
    """A backend whose newest watch yields what a test adds."""

    def __init__(self) -> None:
        self.words: queue.Queue[Secret | Exception | str | None] = queue.Queue()
        self.asked: list[tuple[str, str]] = []
        # Words with which whoever watches has done: it asks for the next one, or watches again.
        self.done = 0
        self._has_ended = False

    def watch_secret(
        self, namespace: str, name: str, stop: threading.Event
    ) -> Iterator[Secret | None]:
        self.asked.append((namespace, name))
        self.done += self._has_ended
        self._has_ended = False
        while not stop.is_set():
            try:
                word = self.words.get(timeout=0.005)
            except queue.Empty:
                continue
            self._has_ended = isinstance(word, Exception | str)
            if isinstance(word, Exception):
                raise word
            if isinstance(word, str):
                return
            yield word
            self.done += 1

    def get_namespace_uid(self, namespace: str) -> str:
        raise NotImplementedError

    def get_config_map(self, namespace: str, name: str) -> None:
        raise NotImplementedError


class Watched:
    """A watcher and the changes it has reported; its clock is `ahead` of the refresher's."""

    def __init__(self) -> None:
        self.store = Scripted()
        self.changes: list[frozenset[str]] = []
        self.ahead = 0.0
        self.registry = CollectorRegistry()
        metrics, changed = NodeMetrics(self.registry), self.changes.append
        watches = SecretWatches(self.store, TOKENS, pause=0.0)
        self.watcher = CompanionWatcher(watches, changed, self, metrics)

    def monotonic(self) -> float:
        return time.monotonic()

    def now(self) -> float:
        return time.time() + self.ahead

    def metric(self, name: str) -> float | None:
        return self.registry.get_sample_value(f"oauth2_csi_node_{name}")

    def say(self, word: Secret | Exception | str | None) -> None:
        """Say it, and wait until the watcher has done with it."""
        before = self.store.done
        self.store.words.put(word)
        eventually(lambda: self.store.done > before, "the end of a word")

    def value(self) -> str:
        seen = self.watcher.latest(SOURCE).companion
        return "" if seen is None or seen.token is None else seen.token.value.reveal()

    def error(self) -> Exception | None:
        return self.watcher.latest(SOURCE).error


@pytest.fixture
def watched() -> Iterator[Watched]:
    watched = Watched()
    watched.watcher.follow(SOURCE, POD, "v1")
    yield watched
    watched.watcher.stop()
    eventually(lambda: not follow_threads(), "the end of the watch")


def secret(value: str, generation: int, uid: str = "uid-1", source: SourceRef = SOURCE) -> Secret:
    made = companion(token(value), generation, source_uid=uid, source=source)
    return Secret(
        TOKENS,
        SOURCE.companion,
        type=annotations.COMPANION_SECRET_TYPE,
        annotations=made.annotations(),
        data=made.data(),
    )


def test_the_companion_is_looked_for_under_its_name(watched: Watched) -> None:
    watched.say(None)
    assert watched.store.asked == [(TOKENS, SOURCE.companion)]
    assert watched.watcher.latest(SOURCE).answered


def test_every_volume_of_the_source_is_told(watched: Watched) -> None:
    watched.watcher.follow(SOURCE, POD, "v2")
    watched.watcher.follow(SOURCE, POD, "v2")
    watched.say(secret("at-1", 1))
    watched.watcher.unfollow(SOURCE, "v1")
    watched.say(secret("at-2", 2))
    assert watched.changes == [{"v1", "v2"}, {"v2"}]
    assert len(watched.store.asked) == 1


def test_the_generation_never_falls(watched: Watched) -> None:
    watched.say(secret("at-5", 5))
    watched.say(secret("at-4", 4))
    assert watched.value() == "at-5"
    watched.say(secret("at-6", 6))
    assert watched.value() == "at-6"


def test_a_source_that_was_made_again_starts_again(watched: Watched) -> None:
    watched.say(secret("at-5", 5))
    watched.say(secret("at-1", 1, uid="uid-2"))
    assert watched.value() == "at-1"
    watched.say(secret("at-0", 0, uid="uid-2"))
    assert watched.value() == "at-1"


def test_a_companion_of_another_source_is_an_error_and_no_token(watched: Watched) -> None:
    watched.say(secret("at-1", 1))
    watched.say(secret("at-of-bob", 2, source=SourceRef("bob", SOURCE.name)))
    assert watched.value() == "at-1"
    assert isinstance(watched.error(), InvalidSecret)


def test_a_damaged_companion_is_an_error_until_it_is_mended(watched: Watched) -> None:
    watched.say(secret("at-1", 1))
    watched.say(Secret(TOKENS, SOURCE.companion))
    assert isinstance(watched.error(), InvalidSecret)
    assert watched.value() == "at-1"
    watched.say(secret("at-2", 2))
    assert (watched.error(), watched.value()) == (None, "at-2")


def test_a_token_that_is_too_large_to_keep_is_an_error(watched: Watched) -> None:
    watched.say(secret("at-1", 1))
    watched.say(secret("a" * (MAX_ACCESS_TOKEN + 1), 2))
    assert isinstance(watched.error(), InvalidSecret)
    assert watched.value() == "at-1"


def test_an_absent_companion_is_no_error_and_takes_nothing_away(watched: Watched) -> None:
    watched.say(secret("at-1", 1))
    watched.say(None)
    assert (watched.error(), watched.value()) == (None, "at-1")


@pytest.mark.parametrize("error", [StoreUnavailable("away"), StoreRefused("no")])
def test_a_backend_in_trouble_takes_nothing_away_and_is_asked_again(
    watched: Watched, error: StoreError
) -> None:
    watched.say(secret("at-1", 1))
    watched.say(error)
    assert (watched.error(), watched.value()) == (error, "at-1")
    watched.say(secret("at-2", 2))
    assert (watched.error(), watched.value()) == (None, "at-2")
    assert len(watched.store.asked) == 2


@pytest.mark.parametrize("word", [END, RuntimeError("a bug")])
def test_a_watch_that_ends_for_any_reason_is_started_again(
    watched: Watched, word: str | Exception
) -> None:
    watched.say(secret("at-1", 1))
    watched.say(word)
    watched.say(secret("at-2", 2))
    assert watched.value() == "at-2"


def test_the_last_volume_ends_the_watch_and_nothing_is_remembered(watched: Watched) -> None:
    watched.say(secret("at-1", 1))
    watched.watcher.unfollow(SOURCE, "v1")
    watched.watcher.unfollow(SOURCE, "v1")
    assert watched.value() == ""
    eventually(lambda: not follow_threads(), "the end of the watch")
    watched.watcher.follow(SOURCE, POD, "v1")
    assert watched.value() == ""
    watched.say(secret("at-1", 1))
    assert watched.value() == "at-1"


@pytest.mark.parametrize("how", ["cancel", "unfollow", "stop"])
def test_a_wait_ends_when_there_is_nothing_to_wait_for(watched: Watched, how: str) -> None:
    cancel = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(watched.watcher.wait, SOURCE, lambda _: False, 10 * TIMEOUT, cancel)
        watched.say(None)
        assert not waiting.done()
        if how == "cancel":
            cancel.set()
            watched.watcher.wake()
        elif how == "unfollow":
            watched.watcher.unfollow(SOURCE, "v1")
        else:
            watched.watcher.stop()
        assert waiting.result(timeout=TIMEOUT).companion is None


def test_a_wait_ends_with_the_first_good_sighting(watched: Watched) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(
            watched.watcher.wait,
            SOURCE,
            lambda seen: seen.companion is not None and seen.companion.generation == 2,
            10 * TIMEOUT,
            threading.Event(),
        )
        watched.say(secret("at-1", 1))
        watched.say(secret("at-2", 2))
        found = waiting.result(timeout=TIMEOUT).companion
    assert found is not None
    assert found.generation == 2


AHEAD = "clock_ahead_seconds"


@pytest.mark.parametrize("ahead", [600.0, -600.0])
def test_a_token_that_arrives_shows_how_far_the_clock_is_ahead(
    watched: Watched, ahead: float
) -> None:
    watched.say(secret("at-1", 1))
    assert watched.metric(AHEAD) == pytest.approx(0.0, abs=5)
    watched.ahead = ahead
    watched.say(secret("at-2", 2))
    observed = watched.watcher.latest(SOURCE)
    assert observed.live
    assert observed.age == watched.metric(AHEAD) == pytest.approx(ahead, abs=5)
    watched.ahead = 0.0
    watched.say(None)
    assert watched.metric(AHEAD) == observed.age
    watched.say(secret("at-3", 3))
    assert watched.metric(AHEAD) == pytest.approx(0.0, abs=5)


@pytest.mark.parametrize(("ahead", "shown"), [(600.0, 0.0), (-600.0, -600.0)])
def test_a_token_may_be_old_when_a_watch_begins_but_not_from_the_future(
    watched: Watched, ahead: float, shown: float
) -> None:
    watched.ahead = ahead
    watched.say(secret("at-1", 1))
    observed = watched.watcher.latest(SOURCE)
    assert not observed.live
    assert observed.age == pytest.approx(ahead, abs=5)
    assert watched.metric(AHEAD) == pytest.approx(shown, abs=5)


@pytest.mark.parametrize(
    ("between", "live"),
    [
        pytest.param(None, True, id="no companion"),
        pytest.param(Secret(TOKENS, SOURCE.companion), True, id="a damaged one"),
        pytest.param(StoreUnavailable("away"), False, id="an outage"),
    ],
)
def test_after_an_outage_a_token_may_be_old(
    watched: Watched, between: Secret | Exception | None, *, live: bool
) -> None:
    watched.say(secret("at-1", 1))
    watched.say(between)
    watched.say(secret("at-2", 2))
    assert watched.watcher.latest(SOURCE).live is live


def test_what_is_known_already_rewrites_nothing(watched: Watched) -> None:
    known = secret("at-1", 1)
    for word in (known, known):
        watched.say(word)
    watched.watcher.follow(SOURCE, POD, "v2")
    watched.say(known)
    assert len(watched.changes) == 1
