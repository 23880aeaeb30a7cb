"""Notices that the machine's clock was set back, which leaves every due time in the future."""

from csidriver.clock import Clock

# Seconds by which a clock may be corrected without anything that is planned suffering.
TOLERATED_SECONDS = 60.0


class ClockJumpDetector:
    """The wall clock, held against one that never jumps; not shared between threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset = self._current_offset()

    def was_set_back(self) -> bool:
        """Whether it was set back by more than a minute, at once or by and by; true once for it."""
        offset = self._current_offset()
        set_back = offset < self._offset - TOLERATED_SECONDS
        self._offset = offset if set_back else max(offset, self._offset)
        return set_back

    def _current_offset(self) -> float:
        return self._clock.now() - self._clock.monotonic()
