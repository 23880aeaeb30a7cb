import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from prometheus_client import CollectorRegistry

from csidriver.core.broker.pod_access import PodRef
from csidriver.core.companion import Companion
from csidriver.core.names import SourceRef
from csidriver.core.volume.readiness import ObservedCompanion
from csidriver.errors import InvalidSecret, StoreUnavailable
from csidriver.node.companion_watcher import CompanionState, CompanionWatcher, Receive
from csidriver.node.metrics import NodeMetrics
from tests.node.plugin import POD, SOURCE, ShiftedClock, companion, token
from tests.waiting import TIMEOUT

DAMAGED = InvalidSecret("Secret a/b", ["is damaged"])
AWAY = StoreUnavailable("away")


class FakeCompanions:
    """A source that reports what a test says, to each pod that follows."""

    def __init__(self) -> None:
        self.receivers: list[Receive] = []

    def follow(self, _ref: SourceRef, _pod: PodRef, receive: Receive) -> Callable[[], None]:
        self.receivers.append(receive)
        return partial(self.receivers.remove, receive)

    def say(self, state: CompanionState) -> None:
        for receive in list(self.receivers):
            receive(state)

    def get_namespace_uid(self, pod: PodRef, secret: str) -> str | None:
        raise NotImplementedError

    def get_config_map(self, _pod: PodRef, _name: str) -> None:
        raise NotImplementedError


class Watched(FakeCompanions):
    """A watcher and the changes it has reported."""

    def __init__(self) -> None:
        super().__init__()
        self.changes: list[frozenset[str]] = []
        self.clock = ShiftedClock()
        self.registry = CollectorRegistry()
        metrics, changed = NodeMetrics(self.registry), self.changes.append
        self.watcher = CompanionWatcher(self, changed, self.clock, metrics)
        self.watcher.follow(SOURCE, POD, "v1")

    def clock_ahead(self) -> float:
        return self.registry.get_sample_value("oauth2_csi_node_clock_ahead_seconds") or 0.0

    def seen(self) -> tuple[str, Exception | None]:
        """The token and the error."""
        observed = self.watcher.latest(SOURCE)
        access = observed.companion and observed.companion.token
        return access.value.reveal() if access else "", observed.error


@pytest.fixture
def watched() -> Watched:
    return Watched()


def of(generation: int, uid: str = "uid-1") -> Companion:
    return companion(token(f"at-{generation}"), generation, source_uid=uid)


def test_every_volume_of_the_source_is_told_once(watched: Watched) -> None:
    for _ in range(2):
        watched.watcher.follow(SOURCE, POD, "v2")
    assert len(watched.receivers) == 2
    known = of(1)
    watched.say(known)
    watched.watcher.unfollow(SOURCE, "v1")
    watched.say(known)
    watched.say(of(2))
    assert watched.changes == [{"v1", "v2"}, {"v2"}]


def test_the_generation_of_a_secret_never_falls(watched: Watched) -> None:
    for said, seen in ((of(5), "at-5"), (of(4), "at-5"), (of(6), "at-6")):
        watched.say(said)
        assert watched.seen() == (seen, None)
    for said in (of(1, "uid-2"), of(0, "uid-2")):
        watched.say(said)
        assert watched.seen() == ("at-1", None)


@pytest.mark.parametrize("state", [DAMAGED, AWAY, None])
def test_trouble_is_told_until_it_is_over_and_takes_no_token_away(
    watched: Watched, state: CompanionState
) -> None:
    watched.say(of(1))
    watched.say(state)
    assert watched.seen() == ("at-1", state)
    assert watched.watcher.problems() == []
    watched.say(of(2))
    assert watched.seen() == ("at-2", None)


def test_what_was_never_seen_is_a_problem_and_absence_an_answer(watched: Watched) -> None:
    watched.say(AWAY)
    assert watched.watcher.problems() == ["away"]
    assert not watched.watcher.latest(SOURCE).answered
    watched.say(None)
    assert watched.watcher.problems() == []
    assert watched.watcher.latest(SOURCE).answered


def test_after_the_last_volume_nothing_is_remembered(watched: Watched) -> None:
    watched.say(of(1))
    for _ in range(2):
        watched.watcher.unfollow(SOURCE, "v1")
    assert watched.receivers == []
    watched.watcher.follow(SOURCE, POD, "v1")
    assert watched.seen() == ("", None)
    watched.watcher.stop()
    assert watched.receivers == []


@pytest.mark.parametrize(
    ("how", "expected"), [("cancel", 1), ("unfollow", None), ("stop", None), ("say", 2)]
)
def test_a_wait_ends_with_what_it_waits_for_or_when_it_is_in_vain(
    watched: Watched, how: str, expected: int | None
) -> None:
    cancel, watcher = threading.Event(), watched.watcher

    def is_second(seen: ObservedCompanion) -> bool:
        return seen.companion is not None and seen.companion.generation == 2

    def cancel_wait() -> None:
        cancel.set()
        watcher.wake()

    ends: dict[str, Callable[[], object]] = {
        "cancel": cancel_wait,
        "unfollow": lambda: watcher.unfollow(SOURCE, "v1"),
        "stop": watcher.stop,
        "say": lambda: watched.say(of(2)),
    }
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(watcher.wait, SOURCE, is_second, 10 * TIMEOUT, cancel)
        watched.say(of(1))
        assert not waiting.done()
        ends[how]()
        found = waiting.result(timeout=TIMEOUT).companion
    assert (found and found.generation) == expected


@pytest.mark.parametrize("ahead", [600.0, -600.0])
def test_a_token_that_arrives_shows_how_far_the_clock_is_ahead(
    watched: Watched, ahead: float
) -> None:
    watched.clock.ahead = 600.0  # a token may be old when a watch begins
    watched.say(of(1))
    assert not watched.watcher.latest(SOURCE).live
    assert watched.clock_ahead() == 0.0
    watched.clock.ahead = ahead
    watched.say(of(2))
    observed = watched.watcher.latest(SOURCE)
    assert observed.live
    assert observed.age == watched.clock_ahead() == pytest.approx(ahead, abs=5)
    watched.clock.ahead = 0.0
    watched.say(None)
    assert watched.clock_ahead() == observed.age
    watched.say(of(3))
    assert watched.clock_ahead() == pytest.approx(0.0, abs=5)


@pytest.mark.parametrize(("between", "live"), [(None, True), (DAMAGED, True), (AWAY, False)])
def test_after_an_outage_a_token_may_be_old(
    watched: Watched, between: CompanionState, *, live: bool
) -> None:
    for state in (of(1), between, of(2)):
        watched.say(state)
    assert watched.watcher.latest(SOURCE).live is live
