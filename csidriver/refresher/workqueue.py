"""A work queue of keys and their due times, instead of a timer per Secret.

It consists of one queue per issuer. They take turns, and none of them gets all workers: a server
that does not answer delays its own tokens, not those of others. Nor does a namespace delay another
one of the same issuer: of the due keys, theirs take turns, each with its earliest.
"""

import heapq
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from csidriver.refresher.fair_queue import FairQueue

K = TypeVar("K")

# Seconds after which the clock is read again: the wall clock may be set while all workers wait.
MAX_WAIT = 5.0


@dataclass(slots=True)
class _IssuerQueue(Generic[K]):
    heap: list[tuple[float, int, K]] = field(default_factory=list)
    due: FairQueue[K] = field(default_factory=FairQueue)
    running: int = 0


class WorkQueue(Generic[K]):
    """Keys and when they are due. Only one worker at a time gets a key.

    Instants are seconds of the clock `now`. An issuer gets at most `worker_limit` of the `workers`,
    and never more than half of those that do not work for others. `next_turn` tells of an issuer
    which key is due before its time, or the seconds until there may be one.
    """

    def __init__(
        self,
        now: Callable[[], float],
        workers: float = math.inf,
        worker_limit: Callable[[str], float] = lambda _: math.inf,
        namespace: Callable[[K], str] = lambda _: "",
        next_turn: Callable[[str], tuple[K | None, float]] = lambda _: (None, math.inf),
    ) -> None:
        self._now = now
        self._free_workers = workers
        self._worker_limit = worker_limit
        self._namespace = namespace
        self._next_turn = next_turn
        self._lock = threading.Lock()
        # One worker waits for the next due time; the others wait for their turn to do so.
        self._due_condition = threading.Condition(self._lock)
        self._turn_condition = threading.Condition(self._lock)
        self._worker_waits = False
        self._due: dict[K, tuple[float, str]] = {}
        self._queues: dict[str, _IssuerQueue[K]] = {}
        self._pushes = 0
        self._running: dict[K, _IssuerQueue[K]] = {}
        self._closed = False

    def add_at(self, key: K, at: float, issuer: str = "") -> None:
        """Add a key that is due at an instant; an earlier due time of the key stays."""
        with self._lock:
            before = self._due.get(key)
            if before is not None:
                at = min(at, before[0])
            if before != (at, issuer):
                self._due[key] = at, issuer
                if key not in self._running:
                    self._push(key)

    def get(self) -> K | None:
        """Wait for a due key, which `done` gives back; return None once the queue is closed."""
        with self._lock:
            while not self._closed:
                key, pause = self._pop()
                if key is not None:
                    self._turn_condition.notify()
                    return key
                self._wait(pause)
        return None

    def done(self, key: K) -> None:
        with self._lock:
            queue = self._running.pop(key)
            queue.running -= 1
            queue.due.finish(self._namespace(key))
            self._free_workers += 1
            self._due_condition.notify()
            if key in self._due:
                self._push(key)

    def close(self) -> None:
        """End all waiting; no more keys are given out."""
        with self._lock:
            self._closed = True
            self._due_condition.notify_all()
            self._turn_condition.notify_all()

    def overdue(self) -> tuple[int, float]:
        """Return how many keys are due without a worker, and for how many seconds the first is."""
        with self._lock:
            now = self._now()
            overdue = [at for key, (at, _) in self._due.items() if at <= now]
        return len(overdue), now - min(overdue, default=now)

    def _wait(self, pause: float) -> None:
        if self._worker_waits:
            self._turn_condition.wait()
            return
        self._worker_waits = True
        self._due_condition.wait(min(pause, MAX_WAIT))
        self._worker_waits = False

    def _push(self, key: K) -> None:
        at, issuer = self._due[key]
        self._pushes += 1
        heapq.heappush(
            self._queues.setdefault(issuer, _IssuerQueue()).heap, (at, self._pushes, key)
        )
        self._compact()
        self._due_condition.notify()

    def _compact(self) -> None:
        """Drop entries that another due time has replaced, before they pile up."""
        if sum(len(queue.heap) for queue in self._queues.values()) <= 2 * len(self._due) + 64:
            return
        for name, queue in self._queues.items():
            queue.heap = [e for e in queue.heap if self._due.get(e[2]) == (e[0], name)]
            heapq.heapify(queue.heap)

    def _pop(self) -> tuple[K | None, float]:
        """Return a due key of the issuer whose turn it is, or the seconds until one may be due."""
        now, pause = self._now(), math.inf
        for name, queue in list(self._queues.items()):
            if queue.running >= min(self._worker_limit(name), self._free_workers):
                continue
            called, wait = self._next_turn(name)
            if called is not None:
                self._due[called] = now, name
                queue.due.add(called, self._namespace(called), first=True)
            if (key := self._next_due(name, queue, now)) is not None:
                self._queues[name] = self._queues.pop(name)  # behind the others
                return self._start(key, queue), 0.0
            if queue.heap:
                pause = min(pause, queue.heap[0][0] - now, wait)
            elif not queue.running:
                del self._queues[name]
        return None, pause

    def _next_due(self, name: str, queue: _IssuerQueue[K], now: float) -> K | None:
        while queue.heap and queue.heap[0][0] <= now:
            _, _, key = heapq.heappop(queue.heap)
            queue.due.add(key, self._namespace(key))
        while queue.due.lines:
            key = queue.due.pop()
            at, issuer = self._due.get(key, (math.inf, ""))
            if issuer == name and at <= now and key not in self._running:
                return key  # else its entry has been replaced, or `done` will add it
        return None

    def _start(self, key: K, queue: _IssuerQueue[K]) -> K:
        del self._due[key]
        self._running[key] = queue
        queue.running += 1
        queue.due.in_progress[self._namespace(key)] += 1
        self._free_workers -= 1
        return key
