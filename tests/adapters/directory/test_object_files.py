import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from csidriver.adapters.directory import DirectoryStore
from csidriver.core.annotations import STATUS
from csidriver.core.kubernetes.secret import Secret, SecretPatch
from csidriver.errors import StoreRefused, StoreUnavailable


def test_files_are_for_their_owner_only_and_nothing_is_left_over(tmp_path: Path) -> None:
    root = tmp_path / "not" / "there"
    store = DirectoryStore(root)
    assert store.get_secret("ns", "x") is None
    assert not root.parent.exists()
    base = store.create_secret(Secret("ns", "x"))
    store.patch_secret(base, SecretPatch(annotations={STATUS: "Valid"}))
    modes = {
        str(path.relative_to(root)): stat.S_IMODE(path.stat().st_mode) for path in root.rglob("*")
    }
    assert modes == {".lock": 0o600, "ns": 0o700, "ns/secret.x.yaml": 0o600}


def test_a_root_that_is_a_file_makes_the_store_unavailable(tmp_path: Path) -> None:
    (tmp_path / "root").touch()
    store = DirectoryStore(tmp_path / "root")
    calls: list[Callable[[], object]] = [
        lambda: store.get_secret("ns", "x"),
        lambda: store.create_secret(Secret("ns", "x")),
        lambda: next(store.watch_changes(threading.Event())),
        lambda: next(store.watch_secret("ns", "x", threading.Event())),
    ]
    for call in calls:
        with pytest.raises(StoreUnavailable, match="cannot "):
            call()


@pytest.mark.parametrize(("namespace", "name"), [("..", "x"), ("a/b", "x"), ("ns", "../x")])
def test_a_path_never_leaves_its_folder(tmp_path: Path, namespace: str, name: str) -> None:
    store = DirectoryStore(tmp_path)
    with pytest.raises(StoreRefused):
        store.get_secret(namespace, name)
