"""The machine's clocks, and waiting."""

import threading
import time


class SystemClock:
    """The real `clock.Clock`; all values are in seconds."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def wait(self, event: threading.Event, seconds: float) -> bool:
        return event.wait(max(0.0, seconds))
