"""Subscriptions of the node's pods at two brokers at a time, over one stream to each."""

import itertools
import logging
import queue
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
from csidriver.core.sensitive import Sensitive
from csidriver.errors import StoreError, StoreRefused, StoreUnavailable
from csidriver.node.companions.broker_address import BrokerAddress
from csidriver.node.companions.updates_received import State, state_received

log = logging.getLogger(__name__)

STREAMS = 2
# Seconds for the threads to end.
GRACE = 1.0


@dataclass(frozen=True, slots=True)
class ClientPauses:
    """Seconds, at random between two values: nodes that lost a broker together come back apart."""

    # Between two connections while the other stream works, and while none does.
    rejoin: tuple[float, float] = (1.0, 30.0)
    alone: tuple[float, float] = (1.0, 5.0)
    # Until a request is repeated that was denied, or that the broker could not decide.
    denied: tuple[float, float] = (20.0, 40.0)
    undecided: tuple[float, float] = (1.0, 3.0)
    # Between two looks for requests to repeat, and for a newer token.
    poll: float = 1.0


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
    connected: bool = False
    call: Any = field(default=None, repr=False)
    # None ends it.
    outgoing: "queue.SimpleQueue[broker_pb2.NodeMessage | None]" = field(
        default_factory=queue.SimpleQueue
    )
    answered: set[int] = field(default_factory=set)
    # When to repeat a subscription, by its number.
    repeat_at: dict[int, float] = field(default_factory=dict)


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
        self._streams: dict[int, _Stream] = {}
        self._error: StoreUnavailable | None = None
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(number,), name="broker", daemon=True)
            for number in range(STREAMS)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        with self._lock:
            calls = [stream.call for stream in self._streams.values() if stream.call is not None]
        for call in calls:
            call.cancel()
        for thread in self._threads:
            # A name that is being resolved is not waited for.
            thread.join(GRACE)

    def subscribe(self, subscription: broker_pb2.Subscription, receive: ReceiveUpdate) -> int:
        """Return the number by which `unsubscribe` ends it; `receive` must not block."""
        with self._lock:
            number = subscription.id = next(self._numbers)
            self._subscriptions[number] = _Subscription(subscription, receive)
            self._send(broker_pb2.NodeMessage(subscribe=subscription))
            error = self._error
        if error is not None:
            receive(error, live=False)
        return number

    def unsubscribe(self, number: int) -> None:
        with self._lock:
            if self._subscriptions.pop(number, None) is not None:
                self._send(broker_pb2.NodeMessage(unsubscribe=number))

    def _send(self, message: broker_pb2.NodeMessage) -> None:
        for stream in self._streams.values():
            stream.outgoing.put(message)

    def _run(self, number: int) -> None:
        while not self._stop.is_set():
            try:
                self._follow(number)
            except grpc.RpcError as error:
                self._fail(f"{error.code().name}: {error.details()}")
            except StoreError as error:
                self._fail(str(error))
            except Exception:
                log.exception("a stream of a broker failed")
            with self._lock:
                alone = not any(each.connected for each in self._streams.values())
            pauses = self._pauses
            self._stop.wait(random.uniform(*(pauses.alone if alone else pauses.rejoin)))  # noqa: S311

    def _follow(self, number: int) -> None:
        """Keep a stream to a broker that the other one does not have, until it ends."""
        found = self._address.resolve()
        if not found:
            raise StoreUnavailable(f"{self._address.host} has no address")
        stream = _Stream()
        with self._lock:
            free = sorted(found - {each.target for each in self._streams.values()})
            if not free:
                return
            stream.target = random.choice(free)  # noqa: S311
            self._streams[number] = stream
            soonest = sorted(self._subscriptions.values(), key=lambda each: each.expires_at)
            for each in soonest:
                stream.outgoing.put(broker_pb2.NodeMessage(subscribe=each.message))
        try:
            with self._address.connect(stream.target) as channel:
                self._receive_all(stream, channel)
        finally:
            stream.outgoing.put(None)
            with self._lock:
                del self._streams[number]

    def _receive_all(self, stream: _Stream, channel: grpc.Channel) -> None:
        token = self._address.read_token()
        metadata = [("authorization", f"Bearer {token.reveal()}")]
        stub = broker_pb2_grpc.BrokerStub(channel)
        call = stub.Subscribe(self._messages(stream, token), metadata=metadata)
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
            self._receive(stream, update)
        raise StoreUnavailable("the broker ended the stream")

    def _messages(self, stream: _Stream, token: Sensitive) -> Iterator[broker_pb2.NodeMessage]:
        """Yield what is sent on a stream, in a thread of gRPC, until it ends."""
        while True:
            try:
                message = stream.outgoing.get(timeout=self._pauses.poll)
            except queue.Empty:
                newest = self._newest_token(token)
                if newest != token:
                    token = newest
                    yield broker_pb2.NodeMessage(token=token.reveal())
                yield from self._repetitions(stream)
                continue
            if message is None:
                return
            yield message

    def _newest_token(self, token: Sensitive) -> Sensitive:
        try:
            return self._address.read_token()
        except StoreError:
            return token

    def _repetitions(self, stream: _Stream) -> list[broker_pb2.NodeMessage]:
        now = self._clock.monotonic()
        with self._lock:
            due = [number for number, at in stream.repeat_at.items() if at <= now]
            for number in due:
                del stream.repeat_at[number]
            found = [self._subscriptions[each] for each in due if each in self._subscriptions]
            return [broker_pb2.NodeMessage(subscribe=each.message) for each in found]

    def _receive(self, stream: _Stream, update: broker_pb2.Update) -> None:
        with self._lock:
            subscription = self._subscriptions.get(update.id)
            if subscription is None:
                return
            message = subscription.message
            state = state_received(update, SourceRef(message.namespace, message.secret))
            if isinstance(state, StoreError):
                pauses = self._pauses
                pause = pauses.denied if isinstance(state, StoreRefused) else pauses.undecided
                stream.repeat_at[update.id] = self._clock.monotonic() + random.uniform(*pause)  # noqa: S311
            elif isinstance(state, Companion) and state.token is not None:
                subscription.expires_at = state.token.expires_at
            live = update.id in stream.answered
            stream.answered.add(update.id)
        subscription.receive(state, live=live)

    def _fail(self, problem: str) -> None:
        """Report to all subscriptions if no stream is left."""
        if self._stop.is_set():
            return
        with self._lock:
            if any(each.connected for each in self._streams.values()):
                log.info("a stream of broker %s has ended: %s", self._address.host, problem)
                return
            log.warning("no stream of broker %s is left: %s", self._address.host, problem)
            text = f"no broker of {self._address.host} answers: {problem}"
            error = self._error = StoreUnavailable(text)
            subscriptions = list(self._subscriptions.values())
        for each in subscriptions:
            each.receive(error, live=False)
