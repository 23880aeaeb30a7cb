import pytest

from csidriver.adapters.clock import SystemClock
from csidriver.clock import ClockJumpDetector


class FakeClock(SystemClock):
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.wall, self.since_start = 1_800_000_000.0, 0.0

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.since_start

    def run(self, seconds: float, by: float = 0.0) -> None:
        self.wall += seconds + by
        self.since_start += seconds


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        pytest.param([-61.0, 0.0], [True, False], id="set back, reported once"),
        pytest.param([-59.0, 0.0], [False, False], id="corrected"),
        pytest.param([-40.0, -40.0, -40.0], [False, True, False], id="by and by"),
        pytest.param([3600.0, -3600.0, 0.0], [False, True, False], id="ahead and back"),
    ],
)
def test_a_clock_that_is_set_back_is_noticed(steps: list[float], expected: list[bool]) -> None:
    clock = FakeClock()
    detector = ClockJumpDetector(clock)
    found = []
    for step in steps:
        clock.run(2.0, step)
        found.append(detector.was_set_back())
    assert found == expected
