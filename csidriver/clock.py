"""The clock that a role is given, and the detection of one that was set back.

The real clock is `adapters.clock`; tests pass one they can set.
"""

import threading
from typing import Protocol

# A correction of so many seconds does not matter to what is planned.
TOLERATED_SECONDS = 60.0


class Clock(Protocol):
    """A source of time, in seconds."""

    def now(self) -> float:
        """Return the wall clock, as epoch seconds."""

    def monotonic(self) -> float:
        """Return a clock that never jumps."""


class WaitingClock(Clock, Protocol):
    """A clock that can also wait."""

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait for `event`, at most so many seconds; return True if it is set."""


class ClockJumpDetector:
    """Compares the wall clock with one that never jumps. Not for several threads.

    A wall clock that was set back leaves every due time in the future.
    """

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
