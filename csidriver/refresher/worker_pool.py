"""A pool of worker threads."""

import logging
import threading
import time
from collections.abc import Callable, Sequence

log = logging.getLogger(__name__)


def join_threads(threads: Sequence[threading.Thread], timeout: float) -> bool:
    """Wait for all threads to end, for so many seconds; return True if they have ended."""
    deadline = time.monotonic() + timeout
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return not any(thread.is_alive() for thread in threads)


class WorkerPool:
    """At most `max_workers` threads that run `work`, which returns when nothing is left to do."""

    def __init__(self, work: Callable[[], None], max_workers: int) -> None:
        self._work = work
        self._max_workers = max_workers
        self._lock = threading.Lock()
        self._started = 0
        self._working: set[threading.Thread] = set()
        self._crashed: list[str] = []

    def start_worker(self) -> None:
        """Start one more worker, unless there are enough."""
        with self._lock:
            if len(self._working) >= self._max_workers:
                return
            self._started += 1
            # A daemon: `join` says whether workers are left, and Python must not wait for them.
            worker = threading.Thread(
                target=self._run, name=f"refresh-{self._started}", daemon=True
            )
            # Under the lock: `join` cannot wait for a thread that has not been started.
            worker.start()
            self._working.add(worker)

    def crashed(self) -> list[str]:
        """Return the problems of workers that ended with an exception."""
        with self._lock:
            return list(self._crashed)

    def join(self, timeout: float) -> bool:
        """Wait for all workers to end, for so many seconds; return True if they have ended."""
        with self._lock:
            workers = list(self._working)
        return join_threads(workers, timeout)

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
