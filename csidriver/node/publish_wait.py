"""How long publishes may wait for their tokens, and how many of them at once."""

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from csidriver.clock import Clock

# Seconds: kubelet ends a call after 120.
LONGEST_WAIT = 60.0
# Seconds that the backend has for its first answer to a call that may not wait for a token.
FIRST_ANSWER = 1.0
# Volumes whose earlier calls are remembered, and for how many seconds: kubelet pauses up to 122
# between two calls, and does not report that it has given up a volume.
MAX_REMEMBERED = 1024
REMEMBERED_FOR = 600.0


@dataclass(frozen=True, slots=True)
class _Calls:
    count: int
    latest: float


class PublishWaitLimiter:
    """Lets at most `waiters` calls wait, each twice as long as the call for its volume before.

    Kubelet pauses longer before each retry, and a token that comes in such a pause starts no pod.
    """

    def __init__(self, first: float, waiters: int, clock: Clock) -> None:
        self._first = first
        self._clock = clock
        self._waiters = threading.Semaphore(waiters)
        self._lock = threading.Lock()
        self._calls: OrderedDict[str, _Calls] = OrderedDict()

    @property
    def first_answer(self) -> float:
        """Seconds for which a call that may not wait still waits for the backend's answer."""
        return min(self._first, FIRST_ANSWER)

    @contextlib.contextmanager
    def allowed_wait(self, volume_id: str) -> Iterator[float]:
        """Yield the seconds this call may wait; if too many wait, yield 0 and do not count it."""
        if not self._waiters.acquire(blocking=False):
            yield 0.0
            return
        try:
            yield self._count(volume_id)
        finally:
            self._waiters.release()

    def forget(self, volume_id: str) -> None:
        """Let the volume's next call wait as long as a first one."""
        with self._lock:
            self._calls.pop(volume_id, None)

    def _count(self, volume_id: str) -> float:
        now = self._clock.monotonic()
        with self._lock:
            while self._calls and self._is_old(next(iter(self._calls.values())), now):
                self._calls.popitem(last=False)
            earlier = self._calls.pop(volume_id, _Calls(0, now)).count
            # At the end, so that the volumes with the oldest calls come first.
            self._calls[volume_id] = _Calls(earlier + 1, now)
            if len(self._calls) > MAX_REMEMBERED:
                self._calls.popitem(last=False)
        # The exponent is limited because a float cannot hold a much larger power of 2.
        return float(min(self._first * 2.0 ** min(earlier, 60), LONGEST_WAIT))

    @staticmethod
    def _is_old(calls: _Calls, now: float) -> bool:
        return now - calls.latest > REMEMBERED_FOR
