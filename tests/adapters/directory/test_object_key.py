import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from csidriver.adapters.directory import DirectoryStore
from csidriver.core.kubernetes.event import Event
from csidriver.core.kubernetes.secret import Secret, SecretPatch
from csidriver.core.names import SourceRef
from csidriver.errors import StoreRefused
from tests.adapters.directory.handwritten import HEAD, listing


def test_files_named_otherwise_are_no_objects(
    store: DirectoryStore, put: Callable[..., Path]
) -> None:
    for file in ("x.yaml", "Secret.x.yaml", "secret.X.yaml", "secret..yaml", ".secret.x.yaml"):
        put(HEAD, file)
    put(HEAD, "secret.x.yml")
    put(HEAD, namespace="Not-A-Namespace")
    assert listing(store) == []


@pytest.mark.parametrize("namespace", ["", ".", "..", "../ns", "/etc", "a.b", "A", "a" * 64, "a\0"])
def test_a_namespace_that_is_none_is_refused(
    tmp_path: Path, store: DirectoryStore, namespace: str
) -> None:
    calls: list[Callable[[], object]] = [
        lambda: store.get_secret(namespace, "x"),
        lambda: store.create_secret(Secret(namespace, "x")),
        lambda: store.patch_secret(Secret(namespace, "x"), SecretPatch()),
        lambda: store.delete_secret(Secret(namespace, "x")),
        lambda: list(store.list_secrets(namespace, "Opaque")),
        lambda: store.watch_secret(namespace, "x", threading.Event()),
        lambda: store.get_config_map(namespace, "x"),
        lambda: store.create_event(Event(SourceRef(namespace, "x"), "", "Reason", "", normal=True)),
        lambda: store.apply({"kind": "Secret", "metadata": {"name": "x"}}, namespace),
    ]
    for call in calls:
        with pytest.raises(StoreRefused):
            call()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", ".", "../x", "a/b", "a\n", "a..b", "X", "a" * 254])
def test_a_name_that_is_none_is_refused(tmp_path: Path, store: DirectoryStore, name: str) -> None:
    with pytest.raises(StoreRefused):
        store.get_secret("ns", name)
    with pytest.raises(StoreRefused):
        store.create_secret(Secret("ns", name))
    assert list(tmp_path.iterdir()) == []
