"""Companions, and what a publish reads of a pod's namespace, from brokers."""

import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from csidriver._proto import broker_pb2
from csidriver.core.broker.pod_access import PodRef
from csidriver.core.companion import Companion
from csidriver.core.names import SourceRef
from csidriver.errors import DriverError, StoreUnavailable
from csidriver.node.companion_watcher import Receive
from csidriver.node.companions.broker_client import BrokerClient
from csidriver.node.companions.updates_received import State

# Seconds that a publish waits for an answer about its pod.
READ_SECONDS = 5.0


@dataclass(eq=False, slots=True)
class _Source:
    """The state that was reported last, of all that come for the pods of a source."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    reported: list[State] = field(default_factory=list)
    followers: int = 0


class BrokerCompanions:
    """Follows for each pod, and reports each state of a source once."""

    def __init__(self, client: BrokerClient) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._sources: dict[SourceRef, _Source] = {}

    def follow(self, ref: SourceRef, pod: PodRef, receive: Receive) -> Callable[[], None]:
        with self._lock:
            source = self._sources.setdefault(ref, _Source())
            source.followers += 1
        message = _subscription(pod, secret=ref.name)
        number = self._client.subscribe(message, partial(_report, source, receive))
        return partial(self._end, ref, source, number)

    def get_config_map(self, pod: PodRef, name: str) -> Mapping[str, str] | None:
        """Return the `data` of a ConfigMap, or None if it does not exist; raise StoreError."""
        state = self._read(_subscription(pod, config_map=name))
        return state if isinstance(state, Mapping) else None

    def get_namespace_uid(self, pod: PodRef, secret: str) -> str | None:
        """Return the uid of the namespace whose token the pod may have, None without a broker."""
        try:
            state = self._read(_subscription(pod, secret=secret))
        except StoreUnavailable:
            # What the node has in memory is published without a broker, too.
            return None
        return state.namespace_uid if isinstance(state, Companion) else ""

    def _end(self, ref: SourceRef, source: _Source, number: int) -> None:
        self._client.unsubscribe(number)
        with self._lock:
            source.followers -= 1
            if not source.followers:
                self._sources.pop(ref, None)

    def _read(self, message: broker_pb2.Subscription) -> State:
        answers: queue.SimpleQueue[State] = queue.SimpleQueue()

        def take(state: State, *, live: bool) -> None:  # noqa: ARG001 - one state is enough
            answers.put(state)

        number = self._client.subscribe(message, take)
        try:
            state = answers.get(timeout=READ_SECONDS)
        except queue.Empty:
            raise StoreUnavailable(f"no broker answered within {READ_SECONDS:.0f} s") from None
        finally:
            self._client.unsubscribe(number)
        if isinstance(state, DriverError):
            raise state
        return state


def _report(source: _Source, receive: Receive, state: State, *, live: bool) -> None:
    if isinstance(state, Mapping):
        return
    # Two brokers, and each pod of the source, bring the same.
    with source.lock:
        if source.reported == [state]:
            return
        source.reported = [state]
        receive(state, live=live)


def _subscription(pod: PodRef, **wanted: Any) -> broker_pb2.Subscription:
    return broker_pb2.Subscription(
        namespace=pod.namespace, pod_name=pod.name, pod_uid=pod.uid, **wanted
    )
