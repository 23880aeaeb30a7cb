"""Time: the one place that reads a clock or waits."""

import threading
import time


class SystemClock:
    """The machine's clocks. All values in seconds."""

    def now(self) -> float:
        """Wall clock, epoch seconds."""
        return time.time()

    def monotonic(self) -> float:
        """A clock that never jumps."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        time.sleep(max(0.0, seconds))

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Let time pass, or less if the event is set; whether it is."""
        return event.wait(max(0.0, seconds))
