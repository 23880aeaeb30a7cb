"""Brings companions from the backend's watch into the cache, in a thread of its own."""

import logging
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol

from csidriver.broker.updates import CompanionState, state_of
from csidriver.core.annotations import COMPANION_TYPE
from csidriver.core.backoff import backoff
from csidriver.core.kubernetes.change import SecretChange
from csidriver.core.kubernetes.secret import Secret
from csidriver.errors import StoreError

log = logging.getLogger(__name__)

# Seconds; while the API server is away, nodes keep what they have.
_PAUSE = partial(backoff, u=0.5, cap=5.0)

Put = Callable[[str, CompanionState | None], object]


class CompanionStore(Protocol):
    """The backend's companions; every method may raise StoreError."""

    def list_secrets(self, namespace: str, type: str) -> Iterator[Secret]: ...  # noqa: A002

    def get_secret(self, namespace: str, name: str) -> Secret | None: ...

    def watch_changes(self, stop: threading.Event) -> Iterator[SecretChange | None]: ...


class CompanionFeed:
    """Calls `put` with each new state of a companion. `listed` is set once all are known."""

    def __init__(
        self, store: CompanionStore, namespace: str, pause: Callable[[int], float] = _PAUSE
    ) -> None:
        self.listed = threading.Event()
        self._pause = pause
        self._store = store
        self._namespace = namespace
        self._versions: dict[str, str] = {}

    def run(self, put: Put, stop: threading.Event) -> None:
        """Feed until `stop`, whatever fails."""
        failures = 0
        while not stop.is_set():
            try:
                for _ in self._follow(put, stop):
                    failures = 0
            except StoreError as error:
                log.warning("cannot watch companions: %s", error)
            except Exception:
                log.exception("watching companions failed")
            failures += 1
            stop.wait(self._pause(failures))

    def _follow(self, put: Put, stop: threading.Event) -> Iterator[None]:
        """Feed until the watch ends; yield when it has begun, and after each change."""
        if not self._versions:
            # A list is cheaper than a read of each.
            for secret in self._store.list_secrets(self._namespace, COMPANION_TYPE):
                self._put(put, secret)
        unseen = set(self._versions)
        listed = False
        for change in self._store.watch_changes(stop):
            if change is None:
                for name in unseen:
                    self._remove(put, name)
                listed = True
                self.listed.set()
            else:
                name = change.ref.companion
                unseen.discard(name)
                self._update(put, name, change.resource_version)
            if listed:
                yield

    def _update(self, put: Put, name: str, version: str) -> None:
        if version and version == self._versions.get(name):
            return
        secret = self._store.get_secret(self._namespace, name) if version else None
        if secret is None:
            self._remove(put, name)
        else:
            self._put(put, secret)

    def _put(self, put: Put, secret: Secret) -> None:
        put(secret.name, state_of(secret))
        self._versions[secret.name] = secret.resource_version

    def _remove(self, put: Put, name: str) -> None:
        put(name, None)
        self._versions.pop(name, None)
