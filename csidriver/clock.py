"""The clock that a role is given. The real one is `adapters.clock`; tests pass one they can set."""

import threading
from typing import Protocol


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
