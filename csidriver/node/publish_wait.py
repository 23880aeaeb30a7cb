"""How long publishes may wait for their tokens, and how many of them at once."""

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Iterator

from csidriver.clock import Clock
from csidriver.core.companion import AccessToken, Companion
from csidriver.core.volume.readiness import (
    ObservedCompanion,
    can_stop_waiting,
    is_valid_for_start,
    unavailable_error,
)
from csidriver.node.companion_watcher import CompanionWatcher
from csidriver.node.volume_record import VolumeRecord

# Seconds: kubelet ends a call after 120.
LONGEST_WAIT = 60.0
# Seconds that the backend has for its first answer to a call that may not wait for a token.
FIRST_ANSWER = 1.0
# Volumes whose earlier calls are remembered: kubelet does not report that it has given up one.
MAX_REMEMBERED = 1024


class PublishWaitLimiter:
    """Lets at most `waiters` calls wait, each twice as long as the call for its volume before.

    Kubelet pauses longer before each retry, and a token that comes in such a pause starts no pod.
    """

    def __init__(self, first: float, waiters: int, clock: Clock) -> None:
        self._first = first
        self._clock = clock
        self._waiters = threading.Semaphore(waiters)
        self._lock = threading.Lock()
        self._calls: OrderedDict[str, int] = OrderedDict()

    def wait_for_token(
        self, record: VolumeRecord, watcher: CompanionWatcher, cancel: threading.Event
    ) -> tuple[Companion, AccessToken]:
        """Return a companion whose token is valid long enough; raise the reason without one."""
        ref, minimum = record.source, record.attributes.min_validity
        # Half of the server's threads never wait, or waiting pods would block unpublishing ones.
        # A call that may not wait still gets one answer of the backend: a token that is there
        # must not wait for tokens that are not.
        with self.allowed_wait(record.volume_id) as seconds:

            def is_enough(observed: ObservedCompanion) -> bool:
                answered = observed.answered or observed.error is not None
                if answered and not seconds:
                    return True
                return can_stop_waiting(observed, self._clock.now(), minimum)

            limit = seconds or min(self._first, FIRST_ANSWER)
            observed = watcher.wait(ref, is_enough, limit, cancel)
        now = self._clock.now()
        companion = observed.companion
        token = None if companion is None else companion.token
        if companion is None or token is None or not is_valid_for_start(observed, now, minimum):
            raise unavailable_error(ref, observed, now, minimum)
        return companion, token

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
        with self._lock:
            earlier = self._calls.pop(volume_id, 0)
            # At the end, so that the volumes with the oldest calls come first.
            self._calls[volume_id] = earlier + 1
            if len(self._calls) > MAX_REMEMBERED:
                self._calls.popitem(last=False)
        # The exponent is limited because a float cannot hold a much larger power of 2.
        return float(min(self._first * 2.0 ** min(earlier, 60), LONGEST_WAIT))
