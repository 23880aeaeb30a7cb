import queue
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from csidriver.adapters.directory import DirectoryStore
from csidriver.core.annotations import IS_TOKEN
from csidriver.core.kubernetes.change import Namespaces, SecretChange
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import SourceRef
from tests.adapters.directory.handwritten import BY_HAND, WAIT
from tests.contract.test_store import watched
from tests.kubectl_store import KubectlStore


def test_a_watch_sees_edits_by_hand_and_survives_broken_ones(
    store: DirectoryStore, put: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    put(BY_HAND)
    put("[", "secret.broken.yaml")
    put(BY_HAND, "x.yaml")
    put(BY_HAND, "configmap.x.yaml")
    seen: queue.Queue[SecretChange] = queue.Queue()
    stop = threading.Event()

    def collect() -> None:
        for change in store.watch_changes(stop):
            if change is not None:
                seen.put(change)

    thread = threading.Thread(target=collect, daemon=True)
    thread.start()
    versions = [seen.get(timeout=WAIT).resource_version]
    for content in (BY_HAND.replace("r1", "r2"), BY_HAND.replace("r1", "r3"), "[", BY_HAND):
        put(content)
        change = seen.get(timeout=WAIT)
        assert change.ref == SourceRef("ns", "x")
        versions.append(change.resource_version)
    stop.set()
    thread.join(WAIT)
    assert not thread.is_alive()
    assert "ns/x.yaml" in caplog.text
    assert "configmap" not in caplog.text
    assert versions[3] == ""
    assert versions[4] == versions[0]
    assert len(set(versions)) == 4


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


SECRET = {"apiVersion": "v1", "kind": "Secret", "type": "t", "data": {"oauth": "MQ=="}}


@pytest.fixture
def user(tmp_path: Path) -> KubectlStore:
    return KubectlStore(tmp_path)


def write(user: KubectlStore, name: str = "x", **changes: object) -> None:
    foreign = {IS_TOKEN: "true", "example.org/note": "a"}
    metadata = {"name": name, "annotations": foreign}
    user.apply({**SECRET, "metadata": metadata, **changes}, "ns")


def of_x(store: DirectoryStore) -> AbstractContextManager[Callable[[], Secret | None]]:
    return watched(lambda stop: store.watch_secret("ns", "x", stop))


def oauth(secret: Secret | None) -> str | None:
    return None if secret is None else secret.data["oauth"].reveal()


def test_a_watched_secret_is_yielded_at_once_and_at_every_change(
    store: DirectoryStore, user: KubectlStore
) -> None:
    with of_x(store) as next_secret, of_x(store) as other:
        seen = [next_secret()]
        assert other() is None
        write(user)
        seen.append(next_secret())
        write(user, data={"oauth": "Mg=="})
        seen.append(next_secret())
        user.remove("Secret", "ns", "x")
        seen.append(next_secret())
        write(user)
        seen.append(next_secret())
        while other() != seen[-1]:
            pass
    assert [oauth(secret) for secret in seen] == [None, "1", "2", None, "1"]
    _, first, second, _, again = seen
    assert first is not None
    assert second is not None
    assert again is not None
    assert (first.namespace, first.name, first.type) == ("ns", "x", "t")
    assert first.annotations == {IS_TOKEN: "true"}
    assert first.uid == second.uid != again.uid
    assert len({first.resource_version, second.resource_version, again.resource_version}) == 3


def test_a_watch_yields_the_changes_of_one_secret_only(
    store: DirectoryStore, user: KubectlStore
) -> None:
    write(user)
    with of_x(store) as next_secret:
        next_secret()
        write(user)
        write(user, "y")
        user.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}}, "ns")
        user.remove("Secret", "ns", "y")
        write(user, data={"oauth": "Mg=="})
        assert oauth(next_secret()) == "2"


def test_a_watch_that_is_stopped_beforehand_yields_nothing(store: DirectoryStore) -> None:
    stop = threading.Event()
    stop.set()
    assert list(store.watch_secret("ns", "x", stop)) == []
