"""Notices that the machine's clock was set back, which leaves every due time in the future."""

from csidriver.clock import Clock

# Seconds by which a clock may be corrected without anything that is planned suffering.
HARMLESS = 60.0


class ClockJumpDetector:
    """The wall clock, held against one that never jumps; not shared between threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead = self._measure()

    def check(self) -> bool:
        """Whether it was set back by more than a minute, at once or by and by; true once for it."""
        ahead = self._measure()
        fell = ahead < self._ahead - HARMLESS
        self._ahead = ahead if fell else max(ahead, self._ahead)
        return fell

    def _measure(self) -> float:
        return self._clock.now() - self._clock.monotonic()
