"""A pool of worker threads."""

import threading
import time
from collections.abc import Callable


class WorkerPool:
    """Threads that run `work`, which returns when nothing is left to do."""

    def __init__(self, work: Callable[[], None], workers: int) -> None:
        self._work = work
        # Daemons: `join` says whether workers are left, and Python must not wait for them.
        self._threads = [
            threading.Thread(target=self._run, name=f"refresh-{number}", daemon=True)
            for number in range(1, workers + 1)
        ]
        self._crashed: list[str] = []

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def crashed(self) -> list[str]:
        """Return the problems of workers that ended with an exception."""
        return list(self._crashed)

    def join(self, timeout: float) -> bool:
        """Wait for all workers to end, for so many seconds; return True if they have ended."""
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self) -> None:
        try:
            self._work()
        except BaseException:
            self._crashed.append(f"thread {threading.current_thread().name} has ended")
            raise
