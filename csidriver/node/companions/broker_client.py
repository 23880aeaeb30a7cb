"""Subscriptions of the node's pods at two brokers at a time, over one stream to each."""

import itertools
import logging
import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import grpc

from csidriver._proto import broker_pb2, broker_pb2_grpc
from csidriver.clock import Clock
from csidriver.core.companion import Companion
from csidriver.core.names import SourceRef
from csidriver.errors import StoreError, StoreRefused, StoreUnavailable
from csidriver.node.companions.broker_address import BrokerAddress
from csidriver.node.companions.stream_requests import StreamRequests
from csidriver.node.companions.updates_received import State, state_received

log = logging.getLogger(__name__)

STREAMS = 2


@dataclass(frozen=True, slots=True)
class ClientPauses:
    """Seconds, at random between two values: nodes that lost a broker together come back apart."""

    # Between two connections while the other stream works, and while none does.
    rejoin: tuple[float, float] = (1.0, 30.0)
    alone: tuple[float, float] = (1.0, 5.0)
    # Until a request is repeated that was denied, or that the broker could not decide.
    denied: tuple[float, float] = (20.0, 40.0)
    undecided: tuple[float, float] = (1.0, 3.0)


class ReceiveUpdate(Protocol):
    """Takes a state. `live`: it is not the first one on its stream."""

    def __call__(self, state: State, *, live: bool) -> None: ...


@dataclass(eq=False, slots=True)
class _Subscription:
    message: broker_pb2.Subscription
    receive: ReceiveUpdate
    expires_at: float = 0.0


@dataclass(eq=False, slots=True)
class _Stream:
    """One of the streams; `target` is "" while it has no broker."""

    target: str = ""
    requests: StreamRequests | None = None
    call: Any = field(default=None, repr=False)
    connected: bool = False
    answered: set[int] = field(default_factory=set)


class BrokerClient:
    """Keeps its subscriptions at two brokers from `start` to `stop`; all methods are thread-safe.

    It calls `receive` from its threads, with the states of both brokers, in the order of each.
    """

    def __init__(
        self, address: BrokerAddress, clock: Clock, pauses: ClientPauses | None = None
    ) -> None:
        self._address = address
        self._clock = clock
        self._pauses = pauses or ClientPauses()
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._subscriptions: dict[int, _Subscription] = {}
        self._streams = [_Stream() for _ in range(STREAMS)]
        self._error: StoreUnavailable | None = None
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(each,), name="broker", daemon=True)
            for each in self._streams
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        with self._lock:
            calls = [stream.call for stream in self._streams if stream.call is not None]
        for call in calls:
            call.cancel()
        for thread in self._threads:
            thread.join()

    def subscribe(self, subscription: broker_pb2.Subscription, receive: ReceiveUpdate) -> int:
        """Return the number by which `unsubscribe` ends it; `receive` must not block."""
        with self._lock:
            number = subscription.id = next(self._numbers)
            self._subscriptions[number] = _Subscription(subscription, receive)
            for requests in self._open():
                requests.subscribe(subscription)
            error = self._error
        if error is not None:
            receive(error, live=False)
        return number

    def unsubscribe(self, number: int) -> None:
        with self._lock:
            if self._subscriptions.pop(number, None) is not None:
                for requests in self._open():
                    requests.unsubscribe(number)

    def _open(self) -> Iterator[StreamRequests]:
        return (each.requests for each in self._streams if each.requests is not None)

    def _run(self, stream: _Stream) -> None:
        while not self._stop.is_set():
            try:
                self._follow(stream)
            except grpc.RpcError as error:
                self._fail(f"{error.code().name}: {error.details()}")
            except StoreError as error:
                self._fail(str(error))
            except Exception:
                log.exception("a stream of a broker failed")
            with self._lock:
                alone = not any(each.connected for each in self._streams)
            pauses = self._pauses
            self._stop.wait(random.uniform(*(pauses.alone if alone else pauses.rejoin)))  # noqa: S311

    def _follow(self, stream: _Stream) -> None:
        """Keep a stream to a broker that the other one does not have, until it ends."""
        found = self._address.resolve()
        with self._lock:
            free = sorted(found - {each.target for each in self._streams})
            if not free and found:
                return
            stream.target = random.choice(free) if free else ""  # noqa: S311
        try:
            if not stream.target:
                raise StoreUnavailable(f"{self._address.host} has no address")
            with self._address.connect(stream.target) as channel:
                self._receive_all(stream, channel)
        finally:
            self._close(stream)

    def _receive_all(self, stream: _Stream, channel: grpc.Channel) -> None:
        read_token = self._address.read_token
        token = read_token()
        with self._lock:
            soonest = sorted(self._subscriptions.values(), key=lambda each: each.expires_at)
            first = [each.message for each in soonest]
            requests = StreamRequests(first, token, read_token, self._clock.monotonic)
            stream.requests = requests
        metadata = [("authorization", f"Bearer {token.reveal()}")]
        call = broker_pb2_grpc.BrokerStub(channel).Subscribe(requests, metadata=metadata)
        with self._lock:
            stream.call = call
        if self._stop.is_set():
            call.cancel()
        # They come once the broker has admitted us.
        call.initial_metadata()
        with self._lock:
            stream.connected = call.is_active()
            self._error = None if stream.connected else self._error
        for update in call:
            self._receive(stream, requests, update)
        raise StoreUnavailable("the broker ended the stream")

    def _close(self, stream: _Stream) -> None:
        with self._lock:
            requests, stream.requests, stream.call = stream.requests, None, None
            stream.target, stream.connected = "", False
        stream.answered.clear()
        if requests is not None:
            requests.close()

    def _receive(
        self, stream: _Stream, requests: StreamRequests, update: broker_pb2.Update
    ) -> None:
        with self._lock:
            subscription = self._subscriptions.get(update.id)
        if subscription is None:
            return
        message = subscription.message
        state = state_received(update, SourceRef(message.namespace, message.secret))
        if isinstance(state, StoreError):
            pauses, denied = self._pauses, isinstance(state, StoreRefused)
            pause = random.uniform(*(pauses.denied if denied else pauses.undecided))  # noqa: S311
            requests.subscribe(message, pause)
        elif isinstance(state, Companion) and state.token is not None:
            subscription.expires_at = state.token.expires_at
        live = update.id in stream.answered
        stream.answered.add(update.id)
        subscription.receive(state, live=live)

    def _fail(self, problem: str) -> None:
        """Report to all subscriptions if no stream is left."""
        if self._stop.is_set():
            return
        log.warning("a stream of broker %s has ended: %s", self._address.host, problem)
        with self._lock:
            if any(each.connected for each in self._streams):
                return
            text = f"no broker of {self._address.host} answers: {problem}"
            error = self._error = StoreUnavailable(text)
            subscriptions = list(self._subscriptions.values())
        for each in subscriptions:
            each.receive(error, live=False)
