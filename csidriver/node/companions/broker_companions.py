"""Companions, and what a publish reads of a pod's namespace, from brokers."""

import queue
import threading
from collections.abc import Callable, Mapping
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


class BrokerCompanions:
    """Follows a companion for each pod that uses it, and reads for pods."""

    def __init__(self, client: BrokerClient) -> None:
        self._client = client
        self._lock = threading.Lock()
        # The uids of pods' namespaces, as brokers have compared them.
        self._owners: dict[PodRef, str] = {}

    def follow(self, ref: SourceRef, pod: PodRef, receive: Receive) -> Callable[[], None]:
        def take(state: State, *, live: bool) -> None:
            if isinstance(state, Companion):
                with self._lock:
                    self._owners[pod] = state.namespace_uid
            if not isinstance(state, Mapping):
                receive(state, live=live)

        number = self._client.subscribe(_subscription(pod, secret=ref.name), take)
        return partial(self._end, pod, number)

    def get_config_map(self, pod: PodRef, name: str) -> Mapping[str, str] | None:
        """Return the `data` of a ConfigMap, or None if it does not exist; raise StoreError."""
        state = self._read(_subscription(pod, config_map=name))
        return state if isinstance(state, Mapping) else None

    def get_namespace_uid(self, pod: PodRef, secret: str) -> str | None:
        """Return the uid of the namespace whose token the pod may have, None without a broker."""
        with self._lock:
            if known := self._owners.get(pod):
                return known
        try:
            state = self._read(_subscription(pod, secret=secret))
        except StoreUnavailable:
            # What the node has in memory is published without a broker, too.
            return None
        return state.namespace_uid if isinstance(state, Companion) else ""

    def _end(self, pod: PodRef, number: int) -> None:
        self._client.unsubscribe(number)
        with self._lock:
            # Another volume of the pod is asked about again.
            self._owners.pop(pod, None)

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


def _subscription(pod: PodRef, **wanted: Any) -> broker_pb2.Subscription:
    return broker_pb2.Subscription(
        namespace=pod.namespace, pod_name=pod.name, pod_uid=pod.uid, **wanted
    )
