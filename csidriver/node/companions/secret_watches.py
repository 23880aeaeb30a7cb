"""Companions from a store of this machine, without brokers: a thread for each volume."""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from csidriver.core.broker.pod_access import PodRef
from csidriver.core.companion import Companion, parse_for_node
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import SourceRef
from csidriver.errors import InvalidSecret, StoreError
from csidriver.node.companion_watcher import Receive

log = logging.getLogger(__name__)

# Seconds between two attempts to watch.
PAUSE = 1.0


class NodeStore(Protocol):
    """The backend as a node needs it; every method may raise StoreError."""

    def watch_secret(
        self, namespace: str, name: str, stop: threading.Event
    ) -> Iterator[Secret | None]:
        """Yield a Secret, or None if it is absent, now and after each change."""

    def get_namespace_uid(self, namespace: str) -> str: ...

    def get_config_map(self, namespace: str, name: str) -> Mapping[str, str] | None: ...


class SecretWatches:
    """Starts the watches."""

    def __init__(self, store: NodeStore, namespace: str, pause: float = PAUSE) -> None:
        self._store = store
        self._namespace = namespace
        self._pause = pause

    def follow(self, ref: SourceRef, _: PodRef, receive: Receive) -> Callable[[], None]:
        stop = threading.Event()
        name, args = f"follow-{ref.id[:8]}", (ref, receive, stop)
        threading.Thread(target=self._run, args=args, name=name, daemon=True).start()
        return stop.set

    def get_namespace_uid(self, pod: PodRef, _: str) -> str:
        return self._store.get_namespace_uid(pod.namespace)

    def get_config_map(self, pod: PodRef, name: str) -> Mapping[str, str] | None:
        return self._store.get_config_map(pod.namespace, name)

    def _run(self, ref: SourceRef, receive: Receive, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                for secret in self._store.watch_secret(self._namespace, ref.companion, stop):
                    receive(_parsed(ref, secret))
            except StoreError as error:
                log.warning("cannot watch the companion of Secret %s: %s", ref, error)
                receive(error)
            stop.wait(self._pause)


def _parsed(ref: SourceRef, secret: Secret | None) -> Companion | InvalidSecret | None:
    """Return a companion, never that of another source."""
    if secret is None:
        return None
    try:
        companion = parse_for_node(secret)
    except InvalidSecret as damaged:
        return damaged
    if companion.source != ref:
        problem = f"belongs to {companion.source}, not to {ref}"
        return InvalidSecret(f"Secret {secret.namespace}/{secret.name}", [problem])
    return companion
