import threading
from pathlib import Path

from csidriver.adapters.directory import DirectoryStore
from csidriver.core.annotations import IS_TOKEN
from csidriver.core.kubernetes.change import Namespaces
from csidriver.core.names import SourceRef


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
