import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from csidriver.adapters.directory import DirectoryStore, FileLock
from csidriver.core.annotations import STATUS
from csidriver.core.kubernetes.secret import Secret, SecretPatch
from csidriver.errors import StoreUnavailable
from tests.adapters.directory.handwritten import listing


def test_files_are_for_their_owner_only_and_nothing_is_left_over(
    tmp_path: Path, store: DirectoryStore
) -> None:
    base = store.create_secret(Secret("ns", "x"))
    store.patch_secret(base, SecretPatch(annotations={STATUS: "Valid"}))
    modes = {
        str(path.relative_to(tmp_path)): stat.S_IMODE(path.stat().st_mode)
        for path in tmp_path.rglob("*")
    }
    assert modes == {".lock": 0o600, "ns": 0o700, "ns/secret.x.yaml": 0o600}


def link_to_itself(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, link_to_itself])
def test_what_is_no_file_counts_as_absent(
    tmp_path: Path, store: DirectoryStore, make: Callable[[Path], None]
) -> None:
    (tmp_path / "ns").mkdir()
    make(tmp_path / "ns" / "secret.x.yaml")
    assert store.get_secret("ns", "x") is None
    assert listing(store) == []


def test_a_root_that_is_a_file_makes_the_store_unavailable(tmp_path: Path) -> None:
    (tmp_path / "root").touch()
    store = DirectoryStore(tmp_path / "root")
    calls: list[Callable[[], object]] = [
        lambda: store.get_secret("ns", "x"),
        lambda: store.create_secret(Secret("ns", "x")),
        lambda: next(store.watch_changes(threading.Event())),
        FileLock(tmp_path / "root").acquire,
        lambda: next(store.watch_secret("ns", "x", threading.Event())),
        lambda: store.delete_secret(Secret("ns", "x")),
    ]
    for call in calls:
        with pytest.raises(StoreUnavailable) as unavailable:
            call()
        assert isinstance(unavailable.value.__cause__, OSError)
