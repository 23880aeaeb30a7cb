import pytest

from csidriver.kubectl.login.polling import PollAnswer, PollSchedule

PENDING, SLOW_DOWN, MISSING = PollAnswer.PENDING, PollAnswer.SLOW_DOWN, PollAnswer.MISSING


def waits(schedule: PollSchedule, *answers: PollAnswer) -> list[float]:
    """Return the waits before each of these answers, as far as the code lives."""
    now, found = 0.0, []
    for answer in answers:
        if schedule.is_over(now):
            break
        found.append(schedule.delay)
        now += schedule.delay
        schedule = schedule.after(answer)
    return found


@pytest.mark.parametrize(
    ("interval", "wait"),
    [(None, 5), ("2.5", 2.5), (0, 1), (1e9, 60), ("soon", 5), (True, 5), (float("nan"), 5)],
)
def test_the_interval_is_five_seconds_or_that_of_the_server_within_bounds(
    interval: object, wait: float
) -> None:
    assert waits(PollSchedule.start(0.0, interval, 600), PENDING, PENDING) == [wait, wait]


@pytest.mark.parametrize(
    ("interval", "answers", "expected"),
    [
        (60, [SLOW_DOWN, PENDING, PENDING], [60, 65, 65]),
        (5, [*[MISSING] * 6, PENDING], [5, 10, 20, 40, 60, 60, 60]),
        (5, [SLOW_DOWN, MISSING, MISSING, PENDING, PENDING], [5, 10, 20, 40, 10]),
    ],
    ids=["slow down for good", "doubled to a minute", "both"],
)
def test_answers_change_the_wait(
    interval: int, answers: list[PollAnswer], expected: list[float]
) -> None:
    assert waits(PollSchedule.start(0.0, interval, 3600), *answers) == expected


def test_nothing_is_asked_after_the_code_has_expired() -> None:
    assert waits(PollSchedule.start(0.0, 5, 12), *[PENDING] * 9) == [5, 5]
    later = PollSchedule.start(5000.0, 5, 12)
    assert (later.is_over(5000.0), later.is_over(5008.0)) == (False, True)


@pytest.mark.parametrize(("lifetime", "seconds"), [(None, 600), (900, 900), (1e12, 3600), (0, 1)])
def test_the_lifetime_of_a_code_is_bounded(lifetime: object, seconds: float) -> None:
    assert PollSchedule.start(0.0, 5, lifetime).expires_at == seconds
