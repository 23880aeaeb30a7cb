"""Leader election in virtual time: a wait is over at once and moves the clock."""

import threading
from collections.abc import Callable

import pytest

from csidriver.config import LeaseTimings
from csidriver.core.kubernetes.lease import LeaseRecord
from csidriver.errors import StoreRefused, StoreUnavailable
from csidriver.refresher.leader_election import LeaderElector, LeaseLock
from tests.simulator.lease import StoredLease

TERM = LeaseTimings(16.0, 4.0)
PATIENCE = 20.0  # real seconds; only a defect waits for it


class Clock:
    """A clock that only waits move. Planned callbacks run on the way."""

    def __init__(self) -> None:
        self.at = 1000.0
        self._plans: list[tuple[float, Callable[[], None]]] = []

    def plan(self, after: float, callback: Callable[[], None]) -> None:
        self._plans.append((self.at + after, callback))

    def now(self) -> float:
        return 5.0

    def monotonic(self) -> float:
        return self.at

    def wait(self, event: threading.Event, seconds: float) -> bool:
        if not event.is_set():
            self.at += seconds
            for at, callback in [plan for plan in self._plans if plan[0] <= self.at]:
                self._plans.remove((at, callback))
                callback()
        return event.is_set()


class FakeLeaderLock:
    """A lock that is free, taken or broken; `acquired_at`: when it was asked for."""

    def __init__(self, clock: Clock) -> None:
        self.free = True
        self.error: StoreUnavailable | StoreRefused | None = None
        self.acquired_at: list[float] = []
        self.released = threading.Event()
        self._clock = clock

    def acquire(self) -> bool:
        self.acquired_at.append(self._clock.at)
        if self.error is not None:
            raise self.error
        return self.free

    def release(self) -> None:
        self.released.set()
        if self.error is not None:
            raise self.error


class ElectorBench:
    def __init__(self) -> None:
        self.clock = Clock()
        self.lock = FakeLeaderLock(self.clock)
        self.stop = threading.Event()
        self.changes: list[bool] = []
        self._changed_at: list[float] = []
        self.elector = LeaderElector(self.lock, TERM, self.clock, self._on_change)

    def run(self, work: Callable[[threading.Event], None] | None = None) -> None:
        self.elector.run(self.stop, work or self.work)
        assert not self.elector.is_leader()

    def work(self, stop_work: threading.Event) -> None:
        assert stop_work.wait(PATIENCE)

    @property
    def spans(self) -> list[tuple[float, float]]:
        return list(zip(self._changed_at[::2], self._changed_at[1::2], strict=True))

    def _on_change(self, working: bool) -> None:  # noqa: FBT001 - as a gauge is set
        self.changes.append(working)
        self._changed_at.append(self.clock.at)


@pytest.fixture
def bench() -> ElectorBench:
    return ElectorBench()


def test_work_lasts_until_stop_and_the_lock_is_renewed_meanwhile(bench: ElectorBench) -> None:
    bench.clock.plan(60.0, bench.stop.set)
    bench.run()
    assert bench.spans == [(1000.0, 1060.0)]
    assert bench.changes == [True, False]
    gaps = [b - a for a, b in zip(bench.lock.acquired_at, bench.lock.acquired_at[1:], strict=False)]
    assert len(gaps) == 14
    assert all(TERM.renew <= gap <= TERM.renew + TERM.retry_period for gap in gaps)


def test_a_standby_has_its_own_work_while_another_leads_and_the_backend_answers(
    bench: ElectorBench,
) -> None:
    began: list[float] = []
    bench.lock.free = False
    down = StoreUnavailable("the test says so")
    bench.clock.plan(10.0, lambda: setattr(bench.lock, "error", down))
    bench.clock.plan(20.0, lambda: setattr(bench.lock, "error", None))
    bench.clock.plan(30.0, lambda: setattr(bench.lock, "free", True))
    bench.clock.plan(40.0, bench.stop.set)
    bench.elector.run(bench.stop, bench.work, lambda: began.append(bench.clock.at - 1000.0))
    halves = [number / 2 for number in range(60)]
    assert began == [at for at in halves if not 10.0 <= at < 20.0]


def test_the_lock_is_released_before_what_was_begun_is_finished(bench: ElectorBench) -> None:
    """So the standby starts at once, and not only after everything in flight."""

    def work(stop_work: threading.Event) -> None:
        assert stop_work.wait(PATIENCE)
        assert not bench.elector.is_leader()
        assert bench.lock.released.wait(PATIENCE)

    bench.clock.plan(10.0, bench.stop.set)
    bench.run(work)


def test_a_renewal_that_fails_now_and_then_ends_nothing(bench: ElectorBench) -> None:
    bench.clock.plan(10.0, lambda: setattr(bench.lock, "error", StoreUnavailable("away")))
    bench.clock.plan(17.0, lambda: setattr(bench.lock, "error", None))
    bench.clock.plan(60.0, bench.stop.set)
    bench.run()
    assert bench.spans == [(1000.0, 1060.0)]


def test_a_leader_that_cannot_renew_starts_nothing_new_before_others_may(
    bench: ElectorBench,
) -> None:
    error = StoreRefused("forbidden")
    held: list[tuple[float, bool]] = []

    def note() -> None:
        held.append((bench.clock.at, bench.elector.is_leader()))
        bench.clock.plan(TERM.retry_period, note)

    bench.clock.plan(0.0, note)
    bench.clock.plan(10.0, lambda: setattr(bench.lock, "error", error))
    bench.clock.plan(60.0, bench.stop.set)
    bench.run()
    renewed = max(at for at in bench.lock.acquired_at if at < 1010.0)
    [(_, ended)] = bench.spans
    assert (
        renewed + TERM.renew_deadline <= ended <= renewed + TERM.renew_deadline + TERM.retry_period
    )
    assert all(holds == (at < renewed + TERM.renew_deadline) for at, holds in held)
    assert bench.elector.ready() == [f"cannot renew leadership: {error}"]
    assert bench.changes == [True, False]


def test_a_lock_that_another_process_has_is_lost_at_once_and_may_come_back(
    bench: ElectorBench,
) -> None:
    bench.clock.plan(10.0, lambda: setattr(bench.lock, "free", False))
    bench.clock.plan(30.0, lambda: setattr(bench.lock, "free", True))
    bench.clock.plan(60.0, bench.stop.set)
    bench.run()
    [first, second] = bench.spans
    assert 1010.0 <= first[1] <= 1010.0 + TERM.renew + TERM.retry_period
    assert 1030.0 <= second[0] <= 1030.0 + TERM.retry_period
    assert bench.changes == [True, False, True, False]


def test_work_that_fails_releases_the_lock(bench: ElectorBench) -> None:
    def work(_: threading.Event) -> None:
        raise StoreRefused("broken")

    with pytest.raises(StoreRefused, match="broken"):
        bench.run(work)
    assert bench.lock.released.is_set()
    assert bench.changes == [True, False]


def candidates(clock: Clock) -> tuple[StoredLease, LeaseLock, LeaseLock]:
    lease = StoredLease()
    return lease, LeaseLock(lease, "us", TERM, clock), LeaseLock(lease, "them", TERM, clock)


def test_a_holder_that_does_not_renew_in_time_loses_the_lease() -> None:
    clock = Clock()
    _, ours, theirs = candidates(clock)
    assert theirs.acquire()
    assert not ours.acquire()
    clock.at += TERM.duration - 0.1
    assert not ours.acquire()
    assert theirs.acquire()
    clock.at += TERM.duration - 0.1
    assert not ours.acquire()
    clock.at += TERM.duration - 0.1
    assert not ours.acquire()
    clock.at += 0.1
    assert ours.acquire()
    assert not theirs.acquire()


def test_the_loser_of_a_race_stands_by() -> None:
    class Late(StoredLease):
        def read(self) -> None:
            return None

    late = Late()
    late.write(LeaseRecord("them", 15.0))
    assert not LeaseLock(late, "us", TERM, Clock()).acquire()


def test_a_lease_of_another_process_is_not_released() -> None:
    clock = Clock()
    lease, ours, theirs = candidates(clock)
    ours.release()
    assert lease.stored is None
    assert ours.acquire()
    clock.at += TERM.duration
    assert not theirs.acquire()
    clock.at += TERM.duration
    assert theirs.acquire()
    ours.release()
    assert not ours.acquire()
    theirs.release()
    assert ours.acquire()
