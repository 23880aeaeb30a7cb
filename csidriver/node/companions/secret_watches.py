"""Companions from the watches of a store: one thread for each source, whatever its pods."""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from csidriver.core.broker.pod_access import PodRef
from csidriver.core.companion import Companion, parse_for_node
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import SourceRef
from csidriver.errors import InvalidSecret, StoreError
from csidriver.node.companion_watcher import CompanionState, Receive

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


@dataclass(eq=False, slots=True)
class _Watch:
    receivers: list[Receive] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)


class SecretWatches:
    """Owns the watches."""

    def __init__(self, store: NodeStore, namespace: str, pause: float = PAUSE) -> None:
        self._store = store
        self._namespace = namespace
        self._pause = pause
        self._lock = threading.Lock()
        self._watches: dict[SourceRef, _Watch] = {}

    def follow(self, ref: SourceRef, _: PodRef, receive: Receive) -> Callable[[], None]:
        """Watch a source; who comes when it is watched already gets the next change."""
        with self._lock:
            watch = self._watches.get(ref)
            if watch is None:
                watch = self._watches[ref] = _Watch()
                name, args = f"follow-{ref.id[:8]}", (ref, watch)
                threading.Thread(target=self._run, args=args, name=name, daemon=True).start()
            watch.receivers.append(receive)
        return partial(self._end, ref, watch, receive)

    def get_namespace_uid(self, pod: PodRef, _: str) -> str:
        return self._store.get_namespace_uid(pod.namespace)

    def get_config_map(self, pod: PodRef, name: str) -> Mapping[str, str] | None:
        return self._store.get_config_map(pod.namespace, name)

    def _end(self, ref: SourceRef, watch: _Watch, receive: Receive) -> None:
        with self._lock:
            watch.receivers.remove(receive)
            if not watch.receivers:
                watch.stop.set()
                del self._watches[ref]

    def _report(self, watch: _Watch, state: CompanionState) -> None:
        with self._lock:
            receivers = list(watch.receivers)
        for receive in receivers:
            receive(state)

    def _run(self, ref: SourceRef, watch: _Watch) -> None:
        while not watch.stop.is_set():
            try:
                for secret in self._store.watch_secret(self._namespace, ref.companion, watch.stop):
                    self._report(watch, _parsed(ref, secret))
            except StoreError as error:
                log.warning("cannot watch the companion of Secret %s: %s", ref, error)
                self._report(watch, error)
            except Exception:
                log.exception("watching the companion of Secret %s failed", ref)
            watch.stop.wait(self._pause)


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
