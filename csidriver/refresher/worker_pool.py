"""Worker threads: hired when there is work, replaced when one of them is busy for long."""

import logging
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)


class WorkerPool:
    """At most `most` threads that run `work`, which returns when there is no more of it.

    Whoever steps aside counts no more, so that somebody else may be hired; at most `aside` may.
    """

    def __init__(self, work: Callable[[], None], max_workers: int, max_blocked: int) -> None:
        self._work = work
        self._max_workers = max_workers
        self._max_blocked = max_blocked
        self._lock = threading.Lock()
        self._started = 0
        self._working: set[threading.Thread] = set()
        self._blocked: set[threading.Thread] = set()
        self._crashed: list[str] = []

    def start_worker(self) -> None:
        """Have one more, unless there are enough."""
        with self._lock:
            if len(self._working) >= self._max_workers:
                return
            self._started += 1
            # Not waited for by the interpreter: `leave` says who was left behind.
            worker = threading.Thread(
                target=self._run, name=f"refresh-{self._started}", daemon=True
            )
            self._working.add(worker)
        worker.start()

    def yield_worker(self) -> bool:
        """The calling worker is busy for long; whether another one may take its place."""
        with self._lock:
            if len(self._blocked) >= self._max_blocked:
                return False
            worker = threading.current_thread()
            self._working.discard(worker)
            self._blocked.add(worker)
        self.start_worker()
        return True

    def crashed(self) -> list[str]:
        """Threads that ended though they should not have."""
        with self._lock:
            return list(self._crashed)

    def join(self, timeout: float) -> bool:
        """Wait for all of them to end, so many seconds at most; whether they have."""
        deadline = time.monotonic() + timeout
        with self._lock:
            workers = [*self._working, *self._blocked]
        for worker in workers:
            worker.join(max(0.0, deadline - time.monotonic()))
        return not any(worker.is_alive() for worker in workers)

    def _run(self) -> None:
        worker = threading.current_thread()
        try:
            self._work()
        except BaseException:
            with self._lock:
                self._crashed.append(f"thread {worker.name} has ended")
            raise
        finally:
            with self._lock:
                self._working.discard(worker)
                self._blocked.discard(worker)
