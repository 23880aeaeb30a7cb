import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import yaml

from csidriver.adapters.directory import DirectoryStore
from csidriver.core.kubernetes.secret import Secret, SecretPatch
from csidriver.core.sensitive import Sensitive
from tests.adapters.directory.handwritten import BY_HAND, listing


def test_a_file_written_by_hand_is_a_secret(
    store: DirectoryStore, put: Callable[..., Path]
) -> None:
    put(BY_HAND)
    secret = store.get_secret("ns", "x")
    assert secret is not None
    assert (secret.namespace, secret.name, secret.manager) == ("ns", "x", "")
    assert secret.data == {
        "clientID": Sensitive("client"),
        "oauth": Sensitive('{"refresh_token": "r1"}'),
    }
    other = DirectoryStore(put(BY_HAND).parent.parent)
    assert other.get_secret("ns", "x") == secret
    assert secret.uid
    put(BY_HAND.replace("name: x", "name: y"), "secret.y.yaml")
    another = store.get_secret("ns", "y")
    assert another is not None
    assert another.uid != secret.uid


def test_a_file_written_by_hand_can_be_patched(
    store: DirectoryStore, put: Callable[..., Path]
) -> None:
    path = put(BY_HAND)
    base = store.get_secret("ns", "x")
    assert base is not None
    assert store.patch_secret(base, SecretPatch(data={"nothing": None})) == base
    assert path.read_text() == BY_HAND
    patched = store.patch_secret(base, SecretPatch(data={"oauth": None}))
    assert patched.data == {"clientID": Sensitive("client")}
    assert patched.uid == base.uid
    written = yaml.safe_load(path.read_text())
    assert written["metadata"]["annotations"]["example.org/since"] == "2026-01-01T00:00:00Z"
    assert "stringData" not in written


def test_an_instance_stores_only(tmp_path: Path) -> None:
    root = tmp_path / "not" / "there"
    store = DirectoryStore(root)
    assert store.get_secret("ns", "x") is None
    assert not root.parent.exists()
    store.create_secret(Secret("ns", "x"))
    assert listing(store) == ["x"]


INCREMENT = """
import sys
from pathlib import Path
from csidriver.adapters.directory import DirectoryStore
from csidriver.core.kubernetes.secret import SecretPatch
from csidriver.core.sensitive import Sensitive
from csidriver.errors import StoreConflict

store = DirectoryStore(Path(sys.argv[1]))
done = 0
while done < 200:
    base = store.get_secret("ns", "x")
    count = int(base.data["document"].reveal()) + 1
    try:
        store.patch_secret(base, SecretPatch(data={"document": Sensitive(str(count))}))
    except StoreConflict:
        continue
    done += 1
"""


def test_two_processes_that_count_together_lose_nothing(
    tmp_path: Path, store: DirectoryStore
) -> None:
    store.create_secret(Secret("ns", "x", data={"document": Sensitive("0")}))
    command = [sys.executable, "-c", INCREMENT, str(tmp_path)]
    processes = [subprocess.Popen(command) for _ in range(2)]  # noqa: S603 - our own text
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    counted = store.get_secret("ns", "x")
    assert counted is not None
    assert counted.data["document"].reveal() == "400"
