"""One ordered queue of due times instead of a timer per Secret."""

import heapq
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")

# Seconds after which the clock is read again: a wall clock may be set while everybody waits.
LONGEST_WAIT = 5.0


class DueQueue(Generic[K]):
    """Keys and when they are due. A key is handed out to one worker at a time.

    Instants are seconds of the clock given here.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._changed = threading.Condition()
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._order = 0
        self._running: set[K] = set()
        self._closed = False

    def put(self, key: K, at: float) -> None:
        """Have a key handed out at an instant, or earlier if it already was to be."""
        with self._changed:
            if at < self._due.get(key, float("inf")):
                self._due[key] = at
                self._order += 1
                heapq.heappush(self._heap, (at, self._order, key))
                self._forget_replaced()
                self._changed.notify()

    def take(self) -> K | None:
        """Wait for the next due key; None once the queue is closed. Answer with `done`."""
        with self._changed:
            while not self._closed:
                key, pause = self._pop()
                if key is not None:
                    return key
                self._changed.wait(LONGEST_WAIT if pause is None else min(pause, LONGEST_WAIT))
        return None

    def done(self, key: K) -> None:
        """The worker has finished with a key it took."""
        with self._changed:
            self._running.discard(key)
            self._changed.notify_all()

    def close(self) -> None:
        """Hand out nothing more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _forget_replaced(self) -> None:
        """Entries that an earlier instant has replaced must not pile up until they are due."""
        if len(self._heap) > 2 * len(self._due) + 64:
            self._heap = [entry for entry in self._heap if self._due.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)

    def _pop(self) -> tuple[K | None, float | None]:
        """A due key that nobody works on, or the seconds until there may be one."""
        passed_over: list[tuple[float, int, K]] = []
        found: K | None = None
        pause: float | None = None
        while self._heap and found is None and pause is None:
            at, _, key = entry = heapq.heappop(self._heap)
            if self._due.get(key) != at:
                continue  # an earlier instant has replaced this one
            if at > self._now():
                pause = at - self._now()
                passed_over.append(entry)
            elif key in self._running:
                passed_over.append(entry)
            else:
                found = key
                del self._due[key]
                self._running.add(key)
        for entry in passed_over:
            heapq.heappush(self._heap, entry)
        return found, pause
