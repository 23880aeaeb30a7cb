"""Token requests in threads of their own, so that a reply counts that comes after its time.

A server that rotates strictly may answer late: its reply holds the only valid refresh token.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue

from csidriver.core.names import SourceRef
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.token_response import Failure, TokenResponse
from csidriver.core.refresh.effects import SpoolEntry

# Requests to one server that are under way or waited for; over that, none is waited for.
MAX_OPEN = 32
# Threads that wait for the next request; to start one costs more CPU than to wake it.
_MAX_IDLE = 32
# Seconds between two looks at a request that has not begun to send when its time is over.
_POLL = 0.2

Send = Callable[[float, threading.Event], TokenResponse]
_Call = Callable[[], TokenResponse]


class LateReplies:
    """Sends token requests and waits for late replies. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._open: Counter[str] = Counter()
        self._calls: SimpleQueue[tuple[str, _Call, Future[TokenResponse]]] = SimpleQueue()
        self._idle = 0
        self._kept: dict[SourceRef, SpoolEntry] = {}

    def request(
        self,
        issuer: str,
        send: Send,
        timeout: float,
        late_timeout: float,
        on_late: Callable[[TokenResponse], None],
    ) -> TokenResponse:
        """Call `send` with its late timeout and an event that it sets before the token is sent.

        Return its response, or NO_ANSWER after `timeout` seconds; `on_late` then gets the response,
        in another thread.
        """
        future: Future[TokenResponse] = Future()
        sent = threading.Event()
        with self._changed:
            listens = self._open[issuer] < MAX_OPEN
            call = partial(send, late_timeout if listens else timeout, sent)
            if self._idle:
                self._idle -= 1
            else:
                threading.Thread(target=self._work, name="request", daemon=True).start()
            self._open[issuer] += 1
            self._calls.put((issuer, call, future))
        try:
            return future.result(timeout)
        except TimeoutError:
            pass
        while not (future.done() or (listens and sent.is_set())):
            time.sleep(_POLL)
        if future.done():
            return future.result()
        future.add_done_callback(lambda done: on_late(done.result()))
        return Failure(FailureReason.NO_ANSWER, awaited=late_timeout - timeout)

    def _work(self) -> None:
        while True:
            issuer, call, future = self._calls.get()
            try:
                future.set_result(call())
            except BaseException as error:  # noqa: BLE001 - raised by the waiting worker
                future.set_exception(error)
            del call, future  # they have tokens
            with self._changed:
                self._open[issuer] -= 1
                self._changed.notify_all()
                if self._idle >= _MAX_IDLE:
                    return
                self._idle += 1

    def keep(self, ref: SourceRef, entry: SpoolEntry) -> None:
        """Keep a late reply until the token is reconciled."""
        with self._changed:
            self._kept[ref] = entry

    def take(self, ref: SourceRef) -> SpoolEntry | None:
        """Return and forget the late reply of a token."""
        with self._changed:
            return self._kept.pop(ref, None)

    def ids(self) -> set[str]:
        """Return the ids of the tokens with a late reply."""
        with self._changed:
            return {ref.id for ref in self._kept}

    def join(self, timeout: float) -> bool:
        """Wait for all requests to end, for so many seconds; return True if they have ended."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._open.total(), timeout)
