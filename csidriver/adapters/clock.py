"""Time: the one place that reads a clock or waits."""

import threading
import time


class Clock:
    """The machine's clocks. All values in seconds."""

    def now(self) -> float:
        """Wall clock, epoch seconds."""
        return time.time()

    def monotonic(self) -> float:
        """A clock that never jumps."""
        return time.monotonic()

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        """Let time pass unless `stop` is or gets set; says whether it is."""
        return stop.wait(max(0.0, seconds))
