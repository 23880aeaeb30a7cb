import shutil
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from csidriver.adapters.directory import DirectoryStore
from csidriver.core.annotations import STATUS
from csidriver.core.kubernetes.secret import Secret, SecretPatch
from csidriver.core.sensitive import Sensitive
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


def test_a_path_never_leaves_its_folder(tmp_path: Path) -> None:
    for namespace, name in (("..", "x"), ("a/b", "x"), ("ns", "../x")):
        with pytest.raises(StoreRefused):
            DirectoryStore(tmp_path).get_secret(namespace, name)


def test_a_manifest_that_a_developer_copies_is_an_object(tmp_path: Path) -> None:
    example = Path(__file__).parents[3] / "examples/hello-token.yaml"
    file = tmp_path / "default/secret.hello-token.yaml"
    file.parent.mkdir()
    shutil.copy(example, file)
    store = DirectoryStore(tmp_path)
    copied = store.get_secret("default", "hello-token")
    assert copied is not None
    assert (copied.namespace, len(copied.data)) == ("default", 3)
    patch = SecretPatch(data={"oauth": Sensitive("{}")})
    assert store.patch_secret(copied, patch).uid == copied.uid
    changed = store.get_secret("default", "hello-token")
    assert changed is not None
    assert changed.data == {**copied.data, "oauth": Sensitive("{}")}


@pytest.mark.parametrize("text", ["kind: Secret", "kind: [", "- kind"])
def test_half_of_a_copy_is_an_error_until_it_is_whole(tmp_path: Path, text: str) -> None:
    file = tmp_path / "ns/secret.x.yaml"
    file.parent.mkdir()
    file.write_text(text)
    with pytest.raises(StoreUnavailable, match=r"secret\.x\.yaml: it is not an object in YAML"):
        next(DirectoryStore(tmp_path).watch_changes(threading.Event()))
