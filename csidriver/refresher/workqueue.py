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
LONGEST_WAIT = 5.0


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
        share: Callable[[str], float] = lambda _: math.inf,
    ) -> None:
        self._now = now
        self._free = workers
        self._share = share
        self._lock = threading.Lock()
        # One worker waits for the next instant; the others wait for it to be gone.
        self._next, self._rest = (threading.Condition(self._lock) for _ in range(2))
        self._awaited = False
        self._due: dict[K, tuple[float, str]] = {}
        self._lanes: dict[str, _IssuerQueue[K]] = {}
        self._entries = 0
        self._running: dict[K, _IssuerQueue[K]] = {}
        self._aside: set[K] = set()
        self._closed = False

    def add_at(self, key: K, at: float, lane: str = "") -> None:
        """Have a key handed out at an instant, or earlier if it already was to be."""
        with self._lock:
            before = self._due.get(key)
            if before is not None:
                at = min(at, before[0])
            if before != (at, lane):
                self._due[key] = at, lane
                if key not in self._running:
                    self._push(key)

    def get(self) -> K | None:
        """Wait for the next due key; None once the queue is closed. Answer with `done`."""
        with self._lock:
            while not self._closed:
                key, pause = self._pop()
                if key is not None:
                    self._rest.notify()
                    return key
                self._wait(pause)
        return None

    def done(self, key: K) -> None:
        """The worker has finished with a key it took."""
        with self._lock:
            self._leave(key)
            del self._running[key]
            self._aside.discard(key)
            if key in self._due:
                self._push(key)

    def step_aside(self, key: K) -> None:
        """The worker is busy with a key for long: another one works in its place."""
        with self._lock:
            self._leave(key)
            self._aside.add(key)

    def close(self) -> None:
        """Hand out nothing more."""
        with self._lock:
            self._closed = True
            self._next.notify_all()
            self._rest.notify_all()

    def idle(self) -> bool:
        """Whether a worker waits for something to do."""
        with self._lock:
            return self._awaited

    def overdue(self) -> tuple[int, float]:
        """How many keys are due and nobody works on them, and since when the first, in seconds."""
        with self._lock:
            now = self._now()
            late = [at for key, (at, _) in self._due.items() if at <= now]
        return len(late), now - min(late, default=now)

    def _wait(self, pause: float) -> None:
        if self._awaited:
            self._rest.wait()
            return
        self._awaited = True
        self._next.wait(min(pause, LONGEST_WAIT))
        self._awaited = False

    def _push(self, key: K) -> None:
        at, lane = self._due[key]
        self._entries += 1
        heapq.heappush(self._lanes.setdefault(lane, _IssuerQueue()).heap, (at, self._entries, key))
        self._forget_replaced()
        self._next.notify()

    def _leave(self, key: K) -> None:
        """The key's worker counts no more."""
        if key not in self._aside:
            self._running[key].running -= 1
            self._free += 1
            self._next.notify()

    def _forget_replaced(self) -> None:
        """Entries that another instant has replaced must not pile up until they are due."""
        if sum(len(lane.heap) for lane in self._lanes.values()) <= 2 * len(self._due) + 64:
            return
        for name, lane in self._lanes.items():
            lane.heap = [e for e in lane.heap if self._due.get(e[2]) == (e[0], name)]
            heapq.heapify(lane.heap)

    def _pop(self) -> tuple[K | None, float]:
        """A due key of the lane whose turn it is, or the seconds until there may be one."""
        now, pause = self._now(), math.inf
        for name, lane in list(self._lanes.items()):
            self._skip_replaced(name, lane)
            if not lane.heap:
                if not lane.running:
                    del self._lanes[name]
            elif lane.heap[0][0] > now:
                pause = min(pause, lane.heap[0][0] - now)
            elif lane.running < min(self._share(name), self._free):
                self._lanes[name] = self._lanes.pop(name)  # behind the others
                return self._hand_out(lane), 0.0
        return None, pause

    def _skip_replaced(self, name: str, lane: _IssuerQueue[K]) -> None:
        heap = lane.heap
        while heap and (self._due.get(heap[0][2]) != (heap[0][0], name) or self._held(heap[0][2])):
            heapq.heappop(heap)

    def _held(self, key: K) -> bool:
        return key in self._running

    def _hand_out(self, lane: _IssuerQueue[K]) -> K:
        _, _, key = heapq.heappop(lane.heap)
        del self._due[key]
        self._running[key] = lane
        lane.running += 1
        self._free -= 1
        return key
