"""Lists and watches as an API server serves them, and a thread that reads their changes."""

import threading
from typing import Any, Self

from csidriver.adapters.directory import DirectoryStore
from csidriver.adapters.kubernetes import KubernetesStore
from csidriver.core.kubernetes.change import FindOwnWrite, SecretChange, TokenObject
from csidriver.core.names import SourceRef
from csidriver.errors import StoreError
from tests.adapters.kubernetes.scripted import PATIENCE, Asked, Says, Scripted, Stream


class FakeCollections:
    """Lists and watches of the collections that `watch_changes` asks for; `streams` by path."""

    def __init__(self, api: Scripted) -> None:
        self.api = api
        self.items: dict[str, list[dict[str, Any]]] = {}
        self.answers: dict[tuple[str, bool], list[Says | Stream]] = {}
        api.answering = self._answer

    def next(self, path: str, *answers: Says | Stream, watch: bool) -> None:
        """What the next requests for a collection get."""
        self.answers.setdefault((path, watch), []).extend(answers)

    def count(self, path: str, *, watch: bool) -> int:
        return sum(a.path == path and a.is_watch == watch for a in self.api.asked)

    def watches(self, path: str) -> list[Asked]:
        return [a for a in self.api.asked if a.path == path and a.is_watch]

    def _answer(self, asked: Asked) -> Says | Stream:
        if planned := self.answers.get((asked.path, asked.is_watch)):
            return planned.pop(0)
        if asked.is_watch:
            return Stream()
        items = self.items.get(asked.path, [])
        return Says({"metadata": {"resourceVersion": "100"}, "items": items})


ALL = "/api/v1/secrets"
GRANTS = "/api/v1/namespaces/oauth2-csi/secrets"
COMPANIONS = "/api/v1/namespaces/oauth2-csi-tokens/secrets"


class WatchThread:
    """What a watch tells, taken in a thread so that a test never waits for ever."""

    def __init__(
        self, store: DirectoryStore | KubernetesStore, find_own: FindOwnWrite | None = None
    ) -> None:
        self.stop = threading.Event()
        self.error: StoreError | None = None
        self._said: list[SecretChange | None] = []
        self._changed = threading.Condition()
        self._changes = store.watch_changes(self.stop, find_own)
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.join()

    def _run(self) -> None:
        try:
            for change in self._changes:
                with self._changed:
                    self._said.append(change)
                    self._changed.notify_all()
        except StoreError as error:
            self.error = error

    def next(self) -> SecretChange | None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._said, PATIENCE), "nothing was told"
            return self._said.pop(0)

    def join(self) -> None:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


def watch_event(kind: str, document: dict[str, Any]) -> dict[str, Any]:
    return {"type": kind, "object": document}


def of_source(version: str, name: str = "token") -> SecretChange:
    return SecretChange(SourceRef("alice", name), TokenObject.SOURCE, version)


def path(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/secrets"
