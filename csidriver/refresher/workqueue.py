"""One ordered queue of due times instead of a timer per Secret.

Keys lie in lanes, one per authorization server. Lanes take turns, each with its earliest key, and
none may hold all workers: a server that lets everybody wait delays its own tokens, not the others'.
"""

import heapq
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

K = TypeVar("K")

# Seconds after which the clock is read again: a wall clock may be set while everybody waits.
MAX_WAIT = 5.0


@dataclass(slots=True)
class _IssuerQueue(Generic[K]):
    heap: list[tuple[float, int, K]] = field(default_factory=list)
    running: int = 0


class WorkQueue(Generic[K]):
    """Keys and when they are due. A key is handed out to one worker at a time.

    Instants are seconds of the clock given here. Of `workers` a lane gets at most `share`, and
    never the last half of those that are free.
    """

    def __init__(
        self,
        now: Callable[[], float],
        workers: float = math.inf,
        worker_limit: Callable[[str], float] = lambda _: math.inf,
    ) -> None:
        self._now = now
        self._free_workers = workers
        self._worker_limit = worker_limit
        self._lock = threading.Lock()
        # One worker waits for the next instant; the others wait for it to be gone.
        self._due_condition, self._turn_condition = (
            threading.Condition(self._lock) for _ in range(2)
        )
        self._worker_waits = False
        self._due: dict[K, tuple[float, str]] = {}
        self._queues: dict[str, _IssuerQueue[K]] = {}
        self._pushes = 0
        self._running: dict[K, _IssuerQueue[K]] = {}
        self._yielded: set[K] = set()
        self._closed = False

    def add_at(self, key: K, at: float, issuer: str = "") -> None:
        """Have a key handed out at an instant, or earlier if it already was to be."""
        with self._lock:
            before = self._due.get(key)
            if before is not None:
                at = min(at, before[0])
            if before != (at, issuer):
                self._due[key] = at, issuer
                if key not in self._running:
                    self._push(key)

    def get(self) -> K | None:
        """Wait for the next due key; None once the queue is closed. Answer with `done`."""
        with self._lock:
            while not self._closed:
                key, pause = self._pop()
                if key is not None:
                    self._turn_condition.notify()
                    return key
                self._wait(pause)
        return None

    def done(self, key: K) -> None:
        """The worker has finished with a key it took."""
        with self._lock:
            self._release_worker(key)
            del self._running[key]
            self._yielded.discard(key)
            if key in self._due:
                self._push(key)

    def yield_worker(self, key: K) -> None:
        """The worker is busy with a key for long: another one works in its place."""
        with self._lock:
            self._release_worker(key)
            self._yielded.add(key)

    def close(self) -> None:
        """Hand out nothing more."""
        with self._lock:
            self._closed = True
            self._due_condition.notify_all()
            self._turn_condition.notify_all()

    def idle(self) -> bool:
        """Whether a worker waits for something to do."""
        with self._lock:
            return self._worker_waits

    def overdue(self) -> tuple[int, float]:
        """How many keys are due and nobody works on them, and since when the first, in seconds."""
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

    def _release_worker(self, key: K) -> None:
        """The key's worker counts no more."""
        if key not in self._yielded:
            self._running[key].running -= 1
            self._free_workers += 1
            self._due_condition.notify()

    def _compact(self) -> None:
        """Entries that another instant has replaced must not pile up until they are due."""
        if sum(len(lane.heap) for lane in self._queues.values()) <= 2 * len(self._due) + 64:
            return
        for name, queue in self._queues.items():
            queue.heap = [e for e in queue.heap if self._due.get(e[2]) == (e[0], name)]
            heapq.heapify(queue.heap)

    def _pop(self) -> tuple[K | None, float]:
        """A due key of the lane whose turn it is, or the seconds until there may be one."""
        now, pause = self._now(), math.inf
        for name, queue in list(self._queues.items()):
            self._drop_replaced(name, queue)
            if not queue.heap:
                if not queue.running:
                    del self._queues[name]
            elif queue.heap[0][0] > now:
                pause = min(pause, queue.heap[0][0] - now)
            elif queue.running < min(self._worker_limit(name), self._free_workers):
                self._queues[name] = self._queues.pop(name)  # behind the others
                return self._start(queue), 0.0
        return None, pause

    def _drop_replaced(self, name: str, queue: _IssuerQueue[K]) -> None:
        heap = queue.heap
        while heap and (
            self._due.get(heap[0][2]) != (heap[0][0], name) or self._is_running(heap[0][2])
        ):
            heapq.heappop(heap)

    def _is_running(self, key: K) -> bool:
        return key in self._running

    def _start(self, queue: _IssuerQueue[K]) -> K:
        _, _, key = heapq.heappop(queue.heap)
        del self._due[key]
        self._running[key] = queue
        queue.running += 1
        self._free_workers -= 1
        return key
