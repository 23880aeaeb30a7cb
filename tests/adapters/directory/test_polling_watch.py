import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from csidriver.adapters.directory import DirectoryStore
from csidriver.core.annotations import IS_TOKEN
from csidriver.core.kubernetes.change import Namespaces
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import SourceRef
from tests.contract.test_store import watched
from tests.kubectl_store import KubectlStore


def test_only_enrolled_namespaces_are_watched(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path, namespaces=Namespaces(sources=("bob",)))
    for namespace in ("alice", "bob"):
        annotated = {"name": "x", "annotations": {IS_TOKEN: "true"}}
        store.apply({"kind": "Secret", "metadata": annotated}, namespace)
    watch = store.watch_changes(threading.Event())
    first = next(watch)
    assert first is not None
    assert first.ref == SourceRef("bob", "x")
    assert next(watch) is None


@pytest.fixture
def user(tmp_path: Path) -> KubectlStore:
    return KubectlStore(tmp_path, poll=0.005)


def write(user: KubectlStore, value: str, name: str = "x") -> None:
    metadata = {"name": name, "annotations": {IS_TOKEN: "true", "example.org/note": "a"}}
    user.apply(
        {"kind": "Secret", "type": "t", "metadata": metadata, "stringData": {"oauth": value}}, "ns"
    )


def of_x(store: DirectoryStore) -> AbstractContextManager[Callable[[], Secret | None]]:
    return watched(lambda stop: store.watch_secret("ns", "x", stop))


def oauth(secret: Secret | None) -> str | None:
    return None if secret is None else secret.data["oauth"].reveal()


def test_a_watched_secret_is_yielded_at_once_and_at_every_change(user: KubectlStore) -> None:
    with of_x(user) as next_secret, of_x(user) as other:
        seen = [next_secret()]
        assert other() is None
        for value in ("1", "2", None, "1"):
            if value is None:
                user.remove("Secret", "ns", "x")
            else:
                write(user, value)
            seen.append(next_secret())
        while other() != seen[-1]:
            pass
    assert [oauth(secret) for secret in seen] == [None, "1", "2", None, "1"]
    versions = {secret.resource_version for secret in seen if secret is not None}
    assert len(versions) == 3


def test_a_watch_yields_the_changes_of_one_secret_only(user: KubectlStore) -> None:
    write(user, "1")
    with of_x(user) as next_secret:
        next_secret()
        write(user, "1")
        write(user, "1", "y")
        user.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}}, "ns")
        user.remove("Secret", "ns", "y")
        write(user, "2")
        assert oauth(next_secret()) == "2"
