"""Detection of a wall clock that was set back, which leaves every due time in the future."""

from csidriver.clock import Clock

# A correction of so many seconds does not matter to what is planned.
TOLERATED_SECONDS = 60.0


class ClockJumpDetector:
    """Compares the wall clock with one that never jumps. Not for several threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset = self._current_offset()

    def was_set_back(self) -> bool:
        """Return True, once, if it was set back by over a minute, at once or step by step."""
        offset = self._current_offset()
        set_back = offset < self._offset - TOLERATED_SECONDS
        self._offset = offset if set_back else max(offset, self._offset)
        return set_back

    def _current_offset(self) -> float:
        return self._clock.now() - self._clock.monotonic()
