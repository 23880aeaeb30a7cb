import queue
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from csidriver.adapters.directory import DirectoryStore
from csidriver.core.annotations import IS_TOKEN
from csidriver.core.kubernetes.change import Namespaces, SecretChange
from csidriver.core.names import SourceRef
from tests.adapters.directory.handwritten import BY_HAND, WAIT


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
