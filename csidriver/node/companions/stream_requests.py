"""The messages of one stream, as gRPC takes them: subscriptions, repetitions, newer tokens."""

import heapq
import threading
from collections import deque
from collections.abc import Callable, Iterable

from csidriver._proto import broker_pb2
from csidriver.core.sensitive import Sensitive
from csidriver.errors import StoreError

# Seconds between two looks for a newer token, which kubelet writes minutes before the old one ends.
TOKEN_POLL = 30.0


class StreamRequests:
    """An iterator that waits for the next message; `close` ends it. Times are monotonic seconds."""

    def __init__(
        self,
        first: Iterable[broker_pb2.Subscription],
        token: Sensitive,
        read_token: Callable[[], Sensitive],
        monotonic: Callable[[], float],
    ) -> None:
        self._messages = deque(broker_pb2.NodeMessage(subscribe=each) for each in first)
        self._token = token
        self._read_token = read_token
        self._monotonic = monotonic
        self._changed = threading.Condition()
        self._later: list[tuple[float, int, broker_pb2.NodeMessage]] = []
        self._token_at = monotonic() + TOKEN_POLL
        self._closed = False

    def subscribe(self, subscription: broker_pb2.Subscription, delay: float = 0.0) -> None:
        message = broker_pb2.NodeMessage(subscribe=subscription)
        with self._changed:
            if delay:
                due = self._monotonic() + delay
                heapq.heappush(self._later, (due, subscription.id, message))
            else:
                self._messages.append(message)
            self._changed.notify_all()

    def unsubscribe(self, number: int) -> None:
        with self._changed:
            # What is on the way to a repetition is not repeated.
            self._later = [each for each in self._later if each[1] != number]
            heapq.heapify(self._later)
            self._messages.append(broker_pb2.NodeMessage(unsubscribe=number))
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __iter__(self) -> "StreamRequests":
        return self

    def __next__(self) -> broker_pb2.NodeMessage:
        with self._changed:
            while not self._closed:
                now = self._monotonic()
                if self._messages:
                    return self._messages.popleft()
                if self._later and self._later[0][0] <= now:
                    return heapq.heappop(self._later)[2]
                if self._token_at <= now and (newer := self._newer_token(now)):
                    return newer
                due = min([self._token_at, *(each[0] for each in self._later[:1])])
                self._changed.wait(max(0.0, due - now))
        raise StopIteration

    def _newer_token(self, now: float) -> broker_pb2.NodeMessage | None:
        self._token_at = now + TOKEN_POLL
        try:
            token = self._read_token()
        except StoreError:
            return None
        if token == self._token:
            return None
        self._token = token
        return broker_pb2.NodeMessage(token=token.reveal())
