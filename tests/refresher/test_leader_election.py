"""Working and standing by, in virtual time: a wait is over at once and moves the clock."""

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from csidriver.config import LeaseTimings
from csidriver.core.kubernetes.lease import LeaseRecord
from csidriver.errors import InvalidSettings, StoreConflict, StoreRefused, StoreUnavailable
from csidriver.refresher.leader_election import LeaderElector, LeaseLock

TERM = LeaseTimings(16.0, 4.0)
PATIENCE = 20.0  # real seconds; only a defect waits for it


class Clock:
    """Stands still but for waits. What is planned happens on the way."""

    def __init__(self) -> None:
        self.at = 1000.0
        self.wall = 5.0
        self._plans: list[tuple[float, Callable[[], None]]] = []

    def plan(self, after: float, act: Callable[[], None]) -> None:
        self._plans.append((self.at + after, act))

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.at

    def wait(self, event: threading.Event, seconds: float) -> bool:
        if not event.is_set():
            self.at += seconds
            for at, act in [plan for plan in self._plans if plan[0] <= self.at]:
                self._plans.remove((at, act))
                act()
        return event.is_set()


class FakeLeaderLock:
    """Free or not, or broken; `takes` are the instants at which it was asked for."""

    def __init__(self, clock: Clock) -> None:
        self.free = True
        self.error: StoreUnavailable | StoreRefused | None = None
        self.takes: list[float] = []
        self.left = threading.Event()
        self.held_when_left: bool | None = None
        self.lease: LeaderElector | None = None
        self._clock = clock

    def acquire(self) -> bool:
        self.takes.append(self._clock.at)
        if self.error is not None:
            raise self.error
        return self.free

    def release(self) -> None:
        self.held_when_left = self.lease is not None and self.lease.is_leader()
        self.left.set()
        if self.error is not None:
            raise self.error


class Stage:
    """A lease with work that lasts until it is told to end, or does as a test says."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.seat = FakeLeaderLock(self.clock)
        self.stop = threading.Event()
        self.told: list[bool] = []
        self._told_at: list[float] = []
        self.lease = self.seat.lease = LeaderElector(self.seat, TERM, self.clock, self._hear)

    def run(self, work: Callable[[threading.Event], None] | None = None) -> None:
        self.lease.run(self.stop, work or self.work)
        assert not self.lease.is_leader()

    def work(self, over: threading.Event) -> None:
        assert over.wait(PATIENCE)

    @property
    def spans(self) -> list[tuple[float, float]]:
        """From when to when there was work."""
        return list(zip(self._told_at[::2], self._told_at[1::2], strict=True))

    def _hear(self, working: bool) -> None:  # noqa: FBT001 - as a gauge is told
        self.told.append(working)
        self._told_at.append(self.clock.at)


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_work_lasts_until_stop_and_the_seat_is_renewed_meanwhile(stage: Stage) -> None:
    stage.clock.plan(60.0, stage.stop.set)
    stage.run()
    assert stage.spans == [(1000.0, 1060.0)]
    assert stage.told == [True, False]
    gaps = [b - a for a, b in zip(stage.seat.takes, stage.seat.takes[1:], strict=False)]
    assert len(gaps) == 14
    assert all(TERM.renew <= gap <= TERM.renew + TERM.retry_period for gap in gaps)


def test_a_standby_waits_and_starts_within_a_look(stage: Stage) -> None:
    stage.seat.free = False
    stage.clock.plan(30.0, lambda: setattr(stage.seat, "free", True))
    stage.clock.plan(50.0, stage.stop.set)
    stage.run()
    [(began, _)] = stage.spans
    assert 1030.0 <= began <= 1030.0 + TERM.retry_period
    assert stage.lease.ready() == []


def test_a_standby_stops_without_having_worked(stage: Stage) -> None:
    stage.seat.free = False
    stage.clock.plan(30.0, stage.stop.set)
    stage.run()
    assert (stage.spans, stage.told, stage.seat.left.is_set()) == ([], [], False)


def test_the_seat_is_given_up_before_what_was_begun_is_finished(stage: Stage) -> None:
    """So the standby starts at once, and not only after everything in flight."""

    def work(over: threading.Event) -> None:
        assert over.wait(PATIENCE)
        assert not stage.lease.is_leader()
        assert stage.seat.left.wait(PATIENCE)

    stage.clock.plan(10.0, stage.stop.set)
    stage.run(work)
    assert stage.seat.held_when_left is False


def test_a_release_that_hangs_keeps_nobody_from_finishing(stage: Stage) -> None:
    finishing = threading.Event()

    def work(over: threading.Event) -> None:
        assert over.wait(PATIENCE)
        finishing.set()

    def leave() -> None:
        assert finishing.wait(PATIENCE / 2)
        stage.seat.left.set()

    stage.seat.release = leave  # type: ignore[method-assign] # for this one seat
    stage.clock.plan(10.0, stage.stop.set)
    stage.run(work)
    assert stage.seat.left.is_set()


def test_a_renewal_that_fails_now_and_then_ends_nothing(stage: Stage) -> None:
    stage.clock.plan(10.0, lambda: setattr(stage.seat, "error", StoreUnavailable("away")))
    stage.clock.plan(17.0, lambda: setattr(stage.seat, "error", None))
    stage.clock.plan(60.0, stage.stop.set)
    stage.run()
    assert stage.spans == [(1000.0, 1060.0)]


@pytest.mark.parametrize("error", [StoreUnavailable("away"), StoreRefused("forbidden")])
def test_who_cannot_renew_starts_nothing_new_before_others_may(
    stage: Stage, error: StoreUnavailable | StoreRefused
) -> None:
    held: list[tuple[float, bool]] = []

    def note() -> None:
        held.append((stage.clock.at, stage.lease.is_leader()))
        stage.clock.plan(TERM.retry_period, note)

    def fail() -> None:
        stage.seat.error = error

    stage.clock.plan(0.0, note)
    stage.clock.plan(10.0, fail)
    stage.clock.plan(60.0, stage.stop.set)
    stage.run()
    renewed = max(at for at in stage.seat.takes if at < 1010.0)
    [(_, ended)] = stage.spans
    assert (
        renewed + TERM.renew_deadline <= ended <= renewed + TERM.renew_deadline + TERM.retry_period
    )
    assert all(holds == (at < renewed + TERM.renew_deadline) for at, holds in held)
    assert stage.lease.ready() == [f"cannot renew leadership: {error}"]
    assert stage.told == [True, False]


def test_a_seat_that_somebody_else_has_is_lost_at_once_and_may_come_back(stage: Stage) -> None:
    stage.clock.plan(10.0, lambda: setattr(stage.seat, "free", False))
    stage.clock.plan(30.0, lambda: setattr(stage.seat, "free", True))
    stage.clock.plan(60.0, stage.stop.set)
    stage.run()
    [first, second] = stage.spans
    assert 1010.0 <= first[1] <= 1010.0 + TERM.renew + TERM.retry_period
    assert 1030.0 <= second[0] <= 1030.0 + TERM.retry_period
    assert stage.told == [True, False, True, False]


def test_work_that_fails_gives_the_seat_up(stage: Stage) -> None:
    def work(_: threading.Event) -> None:
        raise StoreRefused("broken")

    with pytest.raises(StoreRefused, match="broken"):
        stage.run(work)
    assert stage.seat.left.is_set()
    assert stage.told == [True, False]


def test_a_seat_that_cannot_be_given_up_ends_the_work_all_the_same(stage: Stage) -> None:
    def stop() -> None:
        stage.seat.error = StoreUnavailable("away")
        stage.stop.set()

    stage.clock.plan(10.0, stop)
    stage.run()
    assert len(stage.spans) == 1


def test_a_standby_that_sees_nothing_is_not_ready(stage: Stage) -> None:
    stage.seat.error = StoreUnavailable("away")
    stage.clock.plan(10.0, stage.stop.set)
    stage.run()
    assert stage.lease.ready() == ["cannot renew leadership: away"]


def test_a_term_leaves_room_for_a_failed_renewal() -> None:
    with pytest.raises(InvalidSettings):
        LeaseTimings(15.0, 7.6)
    assert LeaseTimings(15.0, 7.5).renew_deadline == 7.5


class Records:
    """A stored lease with compare and swap; a write may be stored and yet fail."""

    def __init__(self) -> None:
        self.stored: LeaseRecord | None = None
        self.lose_answers = 0
        self._writes = 0

    def read(self) -> LeaseRecord | None:
        return self.stored

    def write(self, tenure: LeaseRecord) -> LeaseRecord:
        if tenure.version != ("" if self.stored is None else self.stored.version):
            raise StoreConflict("moved")
        self._writes += 1
        self.stored = replace(tenure, version=str(self._writes))
        if self.lose_answers:
            self.lose_answers -= 1
            raise StoreUnavailable("no answer")
        return self.stored

    def touch(self) -> None:
        """As an administrator who adds a label."""
        assert self.stored is not None
        self.write(self.stored)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def records() -> Records:
    return Records()


@pytest.fixture
def ours(records: Records, clock: Clock) -> LeaseLock:
    return LeaseLock(records, "us", TERM, clock)


@pytest.fixture
def theirs(records: Records, clock: Clock) -> LeaseLock:
    return LeaseLock(records, "them", TERM, clock)


def holder(records: Records) -> str:
    return "" if records.stored is None else records.stored.holder


def test_one_has_the_seat_until_it_gives_it_up(
    records: Records, ours: LeaseLock, theirs: LeaseLock
) -> None:
    assert ours.acquire()
    assert ours.acquire()
    assert not theirs.acquire()
    ours.release()
    assert holder(records) == ""
    assert theirs.acquire()
    assert not ours.acquire()


def test_who_is_silent_for_as_long_as_promised_loses_it(
    clock: Clock, ours: LeaseLock, theirs: LeaseLock
) -> None:
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


def test_no_wall_clock_decides(clock: Clock, ours: LeaseLock, theirs: LeaseLock) -> None:
    assert theirs.acquire()
    for clock.wall in (1e9, 0.0):
        assert not ours.acquire()


def test_a_long_absence_of_ours_is_no_silence_of_theirs(
    clock: Clock, ours: LeaseLock, theirs: LeaseLock
) -> None:
    """The lease may have been renewed all the time while nobody here looked."""
    assert theirs.acquire()
    clock.at += 1000.0
    assert not ours.acquire()


def test_a_process_of_the_same_name_goes_on_at_once(
    records: Records, clock: Clock, ours: LeaseLock
) -> None:
    assert ours.acquire()
    assert LeaseLock(records, "us", TERM, clock).acquire()


def test_a_write_whose_answer_was_lost_is_found_to_be_ours(
    records: Records, ours: LeaseLock, theirs: LeaseLock
) -> None:
    for _ in range(2):
        records.lose_answers = 1
        with pytest.raises(StoreUnavailable):
            ours.acquire()
        assert not theirs.acquire()
        assert ours.acquire()
    records.lose_answers = 1
    with pytest.raises(StoreUnavailable):
        ours.release()
    assert theirs.acquire()


def test_who_loses_a_race_stands_by(records: Records, clock: Clock) -> None:
    class Late(Records):
        def read(self) -> None:
            return None

    late = Late()
    late.write(LeaseRecord("them", 15.0))
    assert not LeaseLock(late, "us", TERM, clock).acquire()
    assert holder(late) == "them"
    assert records.stored is None


def test_a_change_by_an_administrator_costs_nothing(
    records: Records, ours: LeaseLock, theirs: LeaseLock
) -> None:
    assert ours.acquire()
    records.touch()
    assert ours.acquire()
    records.touch()
    ours.release()
    assert holder(records) == ""
    assert theirs.acquire()


def test_what_is_not_ours_is_not_given_up(
    records: Records, clock: Clock, ours: LeaseLock, theirs: LeaseLock
) -> None:
    ours.release()
    assert records.stored is None
    assert ours.acquire()
    assert not theirs.acquire()
    clock.at += TERM.duration
    assert theirs.acquire()
    ours.release()
    assert holder(records) == "them"
