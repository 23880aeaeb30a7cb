"""The machine's clocks, and waiting."""

import threading
import time


class SystemClock:
    """The real `clock.Clock`; all values are in seconds."""

    def now(self) -> float:
        """Return the wall clock, as epoch seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Return a clock that never jumps."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Sleep for so many seconds."""
        time.sleep(max(0.0, seconds))

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait for `event`, at most so many seconds; return True if it is set."""
        return event.wait(max(0.0, seconds))
