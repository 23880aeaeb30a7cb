"""Companions and templates of the node's pods, from two brokers at a time."""

import itertools
import logging
import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from csidriver._proto import broker_pb2
from csidriver.clock import Clock
from csidriver.core.broker.pod_access import PodRef
from csidriver.core.companion import Companion
from csidriver.core.names import SourceRef
from csidriver.errors import DriverError, StoreError, StoreRefused, StoreUnavailable
from csidriver.node.companion_watcher import Receive
from csidriver.node.companions.broker_address import BrokerAddress
from csidriver.node.companions.broker_stream import BrokerStream
from csidriver.node.companions.updates_received import State, state_received

log = logging.getLogger(__name__)

STREAMS = 2
# Seconds for the threads to end.
GRACE = 1.0
# Seconds that a publish waits for an answer about its pod.
READ_SECONDS = 5.0


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


@dataclass(eq=False, slots=True)
class _Subscription:
    """A request, and the answer of brokers: a companion, or else the newest state."""

    message: broker_pb2.Subscription
    ref: SourceRef
    receive: Callable[[Any], object]
    answer: State = None
    answered: threading.Event = field(default_factory=threading.Event)

    @property
    def expires_at(self) -> float:
        token = self.answer.token if isinstance(self.answer, Companion) else None
        return 0.0 if token is None else token.expires_at

    def take(self, state: State) -> None:
        if isinstance(state, Companion) or not isinstance(self.answer, Companion):
            self.answer = state
        self.answered.set()

    def wait(self) -> State:
        """Wait for an answer, and return it or raise it."""
        if not self.answered.wait(READ_SECONDS):
            raise StoreUnavailable(f"no broker answered within {READ_SECONDS:.0f} s")
        if isinstance(self.answer, DriverError):
            raise self.answer.with_traceback(None)
        return self.answer


class BrokerClient:
    """Has its subscriptions at two brokers, from `start` to `stop`; all methods are thread-safe.

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
        self._streams: list[BrokerStream] = []
        # Why there is no stream, when there is none.
        self._error: StoreUnavailable | None = None
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, name="broker", daemon=True) for _ in range(STREAMS)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        with self._lock:
            for stream in self._streams:
                stream.cancel()
        for thread in self._threads:
            # A name that is being resolved is not waited for.
            thread.join(GRACE)

    def follow(self, ref: SourceRef, pod: PodRef, receive: Receive) -> Callable[[], None]:
        return partial(self._unsubscribe, self._subscribe(receive, pod, secret=ref.name))

    def get_config_map(self, pod: PodRef, name: str) -> Mapping[str, str] | None:
        subscription = self._subscribe(lambda _: None, pod, config_map=name)
        try:
            state = subscription.wait()
        finally:
            self._unsubscribe(subscription)
        return state if isinstance(state, Mapping) else None

    def get_namespace_uid(self, pod: PodRef, secret: str) -> str | None:
        with self._lock:
            sent = [(each, each.message) for each in self._subscriptions.values()]
        asked = [each for each, m in sent if m.pod_uid == pod.uid and m.secret == secret]
        try:
            # The newest is that of the publish which wants to know.
            state = asked[-1].wait()
        except StoreUnavailable:
            # What the node has in memory is published without a broker, too.
            return None
        return state.namespace_uid if isinstance(state, Companion) else ""

    def _subscribe(
        self, receive: Callable[[Any], object], pod: PodRef, **wanted: Any
    ) -> _Subscription:
        with self._lock:
            number = next(self._numbers)
            message = broker_pb2.Subscription(
                id=number, namespace=pod.namespace, pod_name=pod.name, pod_uid=pod.uid, **wanted
            )
            ref = SourceRef(pod.namespace, message.secret)
            subscription = self._subscriptions[number] = _Subscription(message, ref, receive)
            for stream in self._streams:
                stream.subscribe(message)
            error = None if self._is_connected() else self._error
        if error is not None:
            _deliver({subscription: error})
        return subscription

    def _unsubscribe(self, subscription: _Subscription) -> None:
        number = subscription.message.id
        with self._lock:
            del self._subscriptions[number]
            for stream in self._streams:
                stream.unsubscribe(number)

    def _is_connected(self) -> bool:
        return any(stream.connected for stream in self._streams)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._keep_stream()
            except StoreError as error:
                self._fail(str(error))
            except Exception:
                log.exception("a stream of a broker failed")
            with self._lock:
                pause = self._pauses.rejoin if self._is_connected() else self._pauses.alone
            self._stop.wait(random.uniform(*pause))  # noqa: S311

    def _keep_stream(self) -> None:
        """Keep a stream to a broker that the other one does not have, until it ends."""
        found = self._address.resolve()
        if not found:
            raise StoreUnavailable(f"{self._address.host} has no address")
        with self._lock:
            free = sorted(found - {each.target for each in self._streams})
            if not free or self._stop.is_set():
                return
            target = random.choice(free)  # noqa: S311
            stream = BrokerStream(self._address, target, self._clock, self._pauses.poll)
            self._streams.append(stream)
            for each in sorted(self._subscriptions.values(), key=lambda each: each.expires_at):
                stream.subscribe(each.message)
        try:
            for update in stream.updates():
                self._receive(stream, update)
        finally:
            with self._lock:
                self._streams.remove(stream)

    def _receive(self, stream: BrokerStream, update: broker_pb2.Update) -> None:
        states: dict[SourceRef, State] = {}
        taken: dict[_Subscription, State] = {}
        for number in (update.id, *update.others):
            with self._lock:
                subscription = self._subscriptions.get(number)
                if subscription is None:
                    continue
                ref = subscription.ref
                # Pods that share a companion have the same state: one object, which costs no
                # comparison, also if another broker has sent it before.
                if ref not in states:
                    state, known = state_received(update, ref), subscription.answer
                    states[ref] = known if known == state else state
                if isinstance(states[ref], StoreError):
                    is_denied = isinstance(states[ref], StoreRefused)
                    pause = self._pauses.denied if is_denied else self._pauses.undecided
                    stream.subscribe(subscription.message, after=random.uniform(*pause))  # noqa: S311
            taken[subscription] = states[ref]
        _deliver(taken)

    def _fail(self, problem: str) -> None:
        """Report to all subscriptions if no stream is left."""
        if self._stop.is_set():
            return
        host = self._address.host
        with self._lock:
            if self._is_connected():
                log.info("a stream of broker %s has ended: %s", host, problem)
                return
            log.warning("no stream of broker %s is left: %s", host, problem)
            error = self._error = StoreUnavailable(f"no broker of {host} answers: {problem}")
            failed: dict[_Subscription, State] = dict.fromkeys(self._subscriptions.values(), error)
        _deliver(failed)


def _deliver(states: Mapping[_Subscription, State]) -> None:
    """Take all states before any is received: a publish may hear of a companion by another pod."""
    for subscription, state in states.items():
        subscription.take(state)
    for subscription, state in states.items():
        subscription.receive(state)
