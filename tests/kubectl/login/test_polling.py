from dataclasses import dataclass, field

import pytest

from csidriver.kubectl.login.polling import PollAnswer, PollSchedule

PENDING, SLOW_DOWN, MISSING = PollAnswer.PENDING, PollAnswer.SLOW_DOWN, PollAnswer.MISSING


@dataclass
class Poller:
    """Asks on a virtual clock."""

    schedule: PollSchedule
    now: float = 0.0
    waits: list[float] = field(default_factory=list)

    def ask(self, *answers: PollAnswer) -> list[float]:
        """Return the waits before each of these answers, as far as the code lives."""
        for answer in answers:
            if self.schedule.is_over(self.now):
                break
            self.waits.append(self.schedule.delay)
            self.now += self.schedule.delay
            self.schedule = self.schedule.after(answer)
        return self.waits


@pytest.mark.parametrize(
    ("interval", "wait"),
    [
        (None, 5),
        (7, 7),
        ("2.5", 2.5),
        (0, 1),
        (1e9, 60),
        ("soon", 5),
        (True, 5),
        (float("nan"), 5),
        ([], 5),
    ],
)
def test_the_interval_is_five_seconds_or_that_of_the_server_within_bounds(
    interval: object, wait: float
) -> None:
    assert Poller(PollSchedule.start(0.0, interval, 600)).ask(PENDING, PENDING) == [wait, wait]


@pytest.mark.parametrize(
    ("interval", "answers", "waits"),
    [
        (5, [PENDING, SLOW_DOWN, PENDING, SLOW_DOWN, PENDING], [5, 5, 10, 10, 15]),
        (60, [SLOW_DOWN, PENDING], [60, 65]),
        (5, [*[MISSING] * 6, PENDING], [5, 10, 20, 40, 60, 60, 60]),
        (5, [SLOW_DOWN, MISSING, MISSING, PENDING, PENDING], [5, 10, 20, 40, 10]),
    ],
    ids=["slow down for good", "beyond the longest", "doubled to a minute", "both"],
)
def test_answers_change_the_wait(
    interval: int, answers: list[PollAnswer], waits: list[float]
) -> None:
    assert Poller(PollSchedule.start(0.0, interval, 3600)).ask(*answers) == waits


def test_nothing_is_asked_after_the_code_has_expired() -> None:
    poller = Poller(PollSchedule.start(0.0, 5, 12))
    assert poller.ask(*[PENDING] * 9) == [5, 5]
    assert poller.schedule.is_over(poller.now)
    later = PollSchedule.start(5000.0, 5, 12)
    assert (later.is_over(5000.0), later.is_over(5008.0)) == (False, True)


@pytest.mark.parametrize(
    ("lifetime", "seconds"), [(None, 600), (900, 900), (1e12, 3600), ("x", 600), (0, 1)]
)
def test_the_lifetime_of_a_code_is_bounded(lifetime: object, seconds: float) -> None:
    assert PollSchedule.start(0.0, 5, lifetime).expires_at == seconds
