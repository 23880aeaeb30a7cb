"""How long publishes may wait for their tokens, and how many of them at once."""

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from csidriver.clock import Clock

# Seconds: kubelet gives a call up after 120.
LONGEST_WAIT = 60.0
# Volumes whose earlier calls are remembered, and for how many seconds: kubelet pauses up to 122
# between two calls, and never says that it has given a volume up.
MAX_REMEMBERED = 1024
REMEMBERED_FOR = 600.0


@dataclass(frozen=True, slots=True)
class _Calls:
    count: int
    latest: float


class PublishWaitLimiter:
    """A first call may wait `first` seconds, each further call for its volume twice as long.

    Kubelet pauses ever longer between its calls; a token that comes in such a pause starts no pod.
    """

    def __init__(self, first: float, waiters: int, clock: Clock) -> None:
        self._first = first
        self._clock = clock
        self._waiters = threading.Semaphore(waiters)
        self._lock = threading.Lock()
        self._calls: OrderedDict[str, _Calls] = OrderedDict()

    @contextlib.contextmanager
    def allowed_wait(self, volume_id: str) -> Iterator[float]:
        """Seconds the call may wait inside; 0, and the call does not count, if too many wait."""
        if not self._waiters.acquire(blocking=False):
            yield 0.0
            return
        try:
            yield self._count(volume_id)
        finally:
            self._waiters.release()

    def forget(self, volume_id: str) -> None:
        """The volume is published, or gone: its next call is a first one."""
        with self._lock:
            self._calls.pop(volume_id, None)

    def _count(self, volume_id: str) -> float:
        now = self._clock.monotonic()
        with self._lock:
            while self._calls and self._is_forgotten(next(iter(self._calls.values())), now):
                self._calls.popitem(last=False)
            earlier = self._calls.pop(volume_id, _Calls(0, now)).count
            # At the end: the volumes of the oldest calls come first.
            self._calls[volume_id] = _Calls(earlier + 1, now)
            if len(self._calls) > MAX_REMEMBERED:
                self._calls.popitem(last=False)
        # A float of 2 to the power of more would not fit.
        return float(min(self._first * 2.0 ** min(earlier, 60), LONGEST_WAIT))

    @staticmethod
    def _is_forgotten(calls: _Calls, now: float) -> bool:
        return now - calls.latest > REMEMBERED_FOR
