import logging
import os
import queue
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from csidriver.adapters.directory import DirectoryStore, FileLock
from csidriver.adapters.directory.manifest import InvalidManifest, decode, encode
from csidriver.adapters.directory.object_key import ObjectKey
from csidriver.core.annotations import IS_TOKEN, STATUS
from csidriver.core.kubernetes.change import Namespaces, SecretChange
from csidriver.core.kubernetes.event import Event
from csidriver.core.kubernetes.secret import Secret, SecretPatch
from csidriver.core.names import SourceRef
from csidriver.core.sensitive import Sensitive
from csidriver.errors import StoreConflict, StoreRefused, StoreUnavailable

NEEDLE = "needle-in-a-broken-file"
HEAD = "kind: Secret\nmetadata: {name: x}\n"
WAIT = 20.0  # seconds
BY_HAND = f"""\
# a comment, as people write them
apiVersion: v1
kind: Secret
metadata:
  name: x
  annotations:
    {IS_TOKEN}: "true"
    example.org/since: 2026-01-01T00:00:00Z
data:
  clientID: Y2xpZW50
stringData:
  oauth: '{{"refresh_token": "r1"}}'
"""


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path, poll=0.005)


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., Path]:
    def put(content: str | bytes, file: str = "secret.x.yaml", namespace: str = "ns") -> Path:
        path = tmp_path / namespace / file
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return put


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def listing(store: DirectoryStore) -> list[str]:
    return [secret.name for secret in store.list_secrets("ns", "Opaque")]


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


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("", id="empty"),
        pytest.param(f"{NEEDLE}: [", id="not YAML"),
        pytest.param(b"\xff\xfe\xff" + NEEDLE.encode(), id="not text"),
        pytest.param(NEEDLE, id="scalar"),
        pytest.param(f"- {NEEDLE}", id="list"),
        pytest.param(HEAD + f"x: &a [{NEEDLE}]\ny: *a\n", id="alias"),
        pytest.param(HEAD + f"x: !!python/name:{NEEDLE} 1\n", id="tag"),
        pytest.param(HEAD + f"x: !!timestamp {NEEDLE}\n", id="timestamp that is none"),
        pytest.param(HEAD + "x: 0b_\n", id="number that is none"),
        pytest.param(HEAD + "x: 9" + "9" * 5000, id="number without end"),
        pytest.param(HEAD + "x: " + "[" * 100_000, id="nested without end"),
        pytest.param(HEAD + f"? [{NEEDLE}]\n: 1\n", id="list as key"),
        pytest.param(HEAD + "---\n" + HEAD, id="two objects"),
        pytest.param(HEAD.replace("Secret", "ConfigMap"), id="other kind"),
        pytest.param(HEAD.replace("x", "y"), id="other name"),
        pytest.param("kind: Secret\nmetadata: {name: x, namespace: other}\n", id="other namespace"),
        pytest.param(f"kind: Secret\nmetadata: {NEEDLE}\n", id="metadata is a text"),
        pytest.param("kind: Secret\nmetadata: {name: x, uid: [1]}\n", id="uid is a list"),
        pytest.param(
            f"kind: Secret\nmetadata: {{name: x, managedFields: {NEEDLE}}}\n", id="fields"
        ),
        pytest.param("kind: Secret\nmetadata: {name: x, managedFields: [1]}\n", id="field"),
        pytest.param("kind: Secret\nmetadata: {name: x, annotations: [a]}\n", id="annotations"),
        pytest.param("kind: Secret\nmetadata: {name: x, annotations: {a: 1}}\n", id="annotation"),
        pytest.param(HEAD + f"data: [{NEEDLE}]\n", id="data is a list"),
        pytest.param(HEAD + f"data: {{oauth: [{NEEDLE}]}}\n", id="value is a list"),
        pytest.param(HEAD + "stringData: {oauth: 1}\n", id="value is a number"),
        pytest.param(HEAD + "type: [1]\n", id="type is a list"),
        pytest.param(HEAD + "immutable: sure\n", id="immutable is a text"),
        pytest.param(HEAD + "#" * (4 << 20), id="too large"),
    ],
)
def test_a_file_that_is_not_fit_counts_as_absent(
    store: DirectoryStore,
    put: Callable[..., Path],
    caplog: pytest.LogCaptureFixture,
    content: str | bytes,
) -> None:
    put(content)
    put(HEAD.replace("x", "good"), "secret.good.yaml")
    with caplog.at_level(logging.DEBUG):
        assert store.get_secret("ns", "x") is None
        assert listing(store) == ["good"]
        store.delete_secret(Secret("ns", "x"))
        with pytest.raises(StoreRefused) as refused:
            store.create_secret(Secret("ns", "x"))
    (record,) = caplog.records
    assert "ns/secret.x.yaml" in record.getMessage()
    assert NEEDLE not in caplog.text + repr(refused.value)
    store.apply({"kind": "Secret", "metadata": {"name": "x"}}, "ns")
    assert listing(store) == ["good", "x"]


def test_a_broken_file_is_warned_about_once_per_content(
    store: DirectoryStore, put: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    for content in ("[", "[", "[["):
        put(content)
        assert store.get_secret("ns", "x") is None
    assert len(caplog.records) == 2


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
        lambda: store.replace({"kind": "Secret", "metadata": {"name": "x"}}, namespace),
        lambda: store.remove("Secret", namespace, "x"),
    ]
    for call in calls:
        with pytest.raises(StoreRefused):
            call()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", ".", "../x", "a/b", "a\n", "a..b", "X", "a" * 254, "a" * 253])
def test_a_name_that_is_none_is_refused(tmp_path: Path, store: DirectoryStore, name: str) -> None:
    with pytest.raises(StoreRefused):
        store.get_secret("ns", name)
    with pytest.raises(StoreRefused):
        store.create_secret(Secret("ns", name))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"kind": "../Secret"}, id="kind with a path"),
        pytest.param({"kind": None}, id="no kind"),
        pytest.param({"metadata": None}, id="no metadata"),
        pytest.param({"metadata": {"name": 1}}, id="name is a number"),
        pytest.param({"metadata": {"name": "x", "namespace": "other"}}, id="other namespace"),
        pytest.param({"data": [NEEDLE]}, id="data is a list"),
        pytest.param({"data": {"oauth": b"bytes"}}, id="bytes"),
        pytest.param({"data": {"oauth": "a" * (4 << 20)}}, id="too large"),
        pytest.param({"stringData": {"oauth": "\ud800"}}, id="not text"),
        pytest.param({"x": nested(65)}, id="nested too deeply"),
        pytest.param({"x": nested(400)}, id="nested deeper"),
        pytest.param({"x": nested(5000)}, id="nested without end"),
        pytest.param({"x": float("nan")}, id="not a number"),
    ],
)
def test_a_manifest_that_is_not_fit_is_refused(
    store: DirectoryStore, change: dict[str, Any]
) -> None:
    with pytest.raises(StoreRefused) as refused:
        store.apply({"kind": "Secret", "metadata": {"name": "x"}, **change}, "ns")
    assert NEEDLE not in repr(refused.value)
    assert listing(store) == []


def test_an_annotation_that_is_no_text_is_refused(store: DirectoryStore) -> None:
    base = store.create_secret(Secret("ns", "x"))
    with pytest.raises(StoreRefused):
        store.patch_secret(base, SecretPatch(annotations={STATUS: "\ud800"}))
    assert store.get_secret("ns", "x") == base


@pytest.mark.parametrize("last", ["", "{", "[]", "[" * 100_000, '{"metadata": []}'])
def test_apply_does_not_trust_what_is_said_to_have_been_applied(
    store: DirectoryStore, last: str
) -> None:
    key = "kubectl.kubernetes.io/last-applied-configuration"
    store.apply({"kind": "Secret", "metadata": {"name": "x"}}, "ns")
    annotated = {"name": "x", "annotations": {key: last, STATUS: "Valid"}}
    store.replace({"kind": "Secret", "metadata": annotated}, "ns")
    store.apply({"kind": "Secret", "metadata": {"name": "x"}, "data": {"oauth": "YQ=="}}, "ns")
    after = store.get_secret("ns", "x")
    assert after is not None
    assert (after.annotations, after.data) == ({STATUS: "Valid"}, {"oauth": Sensitive("a")})


def test_replace_needs_something_to_replace(store: DirectoryStore) -> None:
    with pytest.raises(StoreConflict):
        store.replace({"kind": "Secret", "metadata": {"name": "x"}}, "ns")


def test_other_kinds_are_kept_too(tmp_path: Path, store: DirectoryStore) -> None:
    pod = {"kind": "Pod", "metadata": {"name": "x"}, "spec": {"containers": []}, "data": [1]}
    store.apply(pod, "ns")
    written = yaml.safe_load((tmp_path / "ns" / "pod.x.yaml").read_text())
    assert (written["spec"], written["data"]) == (pod["spec"], [1])
    store.remove("Pod", "ns", "x")
    assert list((tmp_path / "ns").iterdir()) == []


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


def test_a_symlink_in_place_of_a_file_is_neither_read_nor_written(
    tmp_path: Path, store: DirectoryStore, put: Callable[..., Path]
) -> None:
    outside = put(HEAD, "outside", "elsewhere")
    (tmp_path / "ns").mkdir()
    link = tmp_path / "ns" / "secret.x.yaml"
    link.symlink_to(outside)
    assert store.get_secret("ns", "x") is None
    assert listing(store) == []
    with pytest.raises(StoreRefused):
        store.create_secret(Secret("ns", "x"))
    with pytest.raises(StoreRefused):
        store.apply({"kind": "Secret", "metadata": {"name": "x"}}, "ns")
    store.remove("Secret", "ns", "x")
    assert not link.is_symlink()
    assert outside.read_text() == HEAD


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_counts_as_absent(
    tmp_path: Path, store: DirectoryStore, make: Callable[[Path], None]
) -> None:
    (tmp_path / "ns").mkdir()
    make(tmp_path / "ns" / "secret.x.yaml")
    assert store.get_secret("ns", "x") is None
    assert listing(store) == []
    with pytest.raises(StoreRefused):
        store.apply({"kind": "Secret", "metadata": {"name": "x"}}, "ns")


def test_a_symlink_in_place_of_a_namespace_is_neither_read_nor_written(
    tmp_path: Path, put: Callable[..., Path]
) -> None:
    outside = put(HEAD, namespace="elsewhere").parent
    root = tmp_path / "root"
    root.mkdir()
    (root / "ns").symlink_to(outside)
    store = DirectoryStore(root)
    assert store.get_secret("ns", "x") is None
    assert listing(store) == []
    with pytest.raises(StoreRefused):
        store.create_secret(Secret("ns", "new"))
    store.remove("Secret", "ns", "x")
    assert [path.name for path in outside.iterdir()] == ["secret.x.yaml"]


def test_a_symlink_in_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / ".lock").symlink_to(tmp_path / "victim")
    with pytest.raises(StoreUnavailable):
        DirectoryStore(tmp_path / "root").create_secret(Secret("ns", "x"))
    assert not (tmp_path / "victim").exists()


def test_a_root_that_is_a_file_makes_the_store_unavailable(tmp_path: Path) -> None:
    (tmp_path / "root").touch()
    store = DirectoryStore(tmp_path / "root")
    calls: list[Callable[[], object]] = [
        lambda: store.get_secret("ns", "x"),
        lambda: store.create_secret(Secret("ns", "x")),
        lambda: list(store.list_secrets("ns", "Opaque")),
        lambda: next(store.watch_changes(threading.Event())),
        FileLock(tmp_path / "root").acquire,
        lambda: next(store.watch_secret("ns", "x", threading.Event())),
        lambda: store.remove("Secret", "ns", "x"),
    ]
    for call in calls:
        with pytest.raises(StoreUnavailable) as unavailable:
            call()
        assert isinstance(unavailable.value.__cause__, OSError)


def test_an_instance_stores_only(tmp_path: Path) -> None:
    root = tmp_path / "not" / "there"
    store = DirectoryStore(root)
    assert store.get_secret("ns", "x") is None
    assert not root.parent.exists()
    store.create_secret(Secret("ns", "x"))
    assert listing(store) == ["x"]


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


def test_the_age_is_that_of_the_file_if_we_wrote_it(tmp_path: Path, store: DirectoryStore) -> None:
    store.create_secret(Secret("ns", "x"))
    then = time.time() - 1000
    os.utime(tmp_path / "ns" / "secret.x.yaml", (then, then))
    secret = store.get_secret("ns", "x")
    assert secret is not None
    assert secret.age is not None
    assert 1000 <= secret.age < 1000 + WAIT


def test_a_seat_whose_lock_was_removed_is_taken_anew_or_lost(tmp_path: Path) -> None:
    one, other = FileLock(tmp_path), FileLock(tmp_path)
    assert one.acquire()
    (tmp_path / ".refresher").unlink()
    assert one.acquire()
    assert not other.acquire()
    (tmp_path / ".refresher").unlink()
    assert other.acquire()
    assert not one.acquire()


def test_a_seat_behind_a_symlink_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / ".refresher").symlink_to(tmp_path / "victim")
    with pytest.raises(StoreUnavailable):
        FileLock(tmp_path).acquire()
    assert not (tmp_path / "victim").exists()


SIT = """
import sys, time
from pathlib import Path
from csidriver.adapters.directory import FileLock

lock = FileLock(Path(sys.argv[1]))
print(lock.acquire(), flush=True)
sys.stdin.read()
"""


def test_the_seat_of_a_process_that_dies_is_free_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SIT, str(tmp_path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as process:  # noqa: S603 - our own text
        assert process.stdout is not None
        assert process.stdout.readline() == b"True\n"
        assert not FileLock(tmp_path).acquire()
        process.kill()
        process.wait(WAIT)
        assert FileLock(tmp_path).acquire()


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
    count = int(base.data["count"].reveal()) + 1
    try:
        store.patch_secret(base, SecretPatch(data={"count": Sensitive(str(count))}))
    except StoreConflict:
        continue
    done += 1
"""


def test_two_processes_that_count_together_lose_nothing(
    tmp_path: Path, store: DirectoryStore
) -> None:
    store.create_secret(Secret("ns", "x", data={"count": Sensitive("0")}))
    command = [sys.executable, "-c", INCREMENT, str(tmp_path)]
    processes = [subprocess.Popen(command) for _ in range(2)]  # noqa: S603 - our own text
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    counted = store.get_secret("ns", "x")
    assert counted is not None
    assert counted.data["count"].reveal() == "400"


def test_nothing_shows_content_when_it_is_shown(
    store: DirectoryStore, put: Callable[..., Path]
) -> None:
    put(HEAD + f"stringData: {{oauth: {NEEDLE}}}\n")
    stored = store._manifests.load(ObjectKey.of("ns", "Secret", "x"))
    assert stored is not None
    assert NEEDLE not in repr(stored) + str(stored) + repr(stored.secret)


TEXTS = st.text(st.characters(codec="utf-8"))
SLOT = ObjectKey.of("ns", "Secret", "x")


@given(st.dictionaries(TEXTS, TEXTS), st.dictionaries(TEXTS, TEXTS))
def test_every_text_is_read_back_as_it_was_written(
    annotations: dict[str, str], data: dict[str, str]
) -> None:
    metadata = {"name": "x", "namespace": "ns", "annotations": annotations}
    manifest = {"kind": "Secret", "metadata": metadata, "data": data}
    assert decode(encode(manifest, SLOT), SLOT) == manifest


@given(st.text("ab:[]{}&*!|>'\"\n -0123<=?%@\\.\t_~,#e") | st.binary())
def test_no_content_raises_anything_else(content: str | bytes) -> None:
    raw = content if isinstance(content, bytes) else content.encode()
    for start in (b"", HEAD.encode()):
        try:
            decode(start + raw, SLOT)
        except InvalidManifest as unfit:
            assert unfit.__cause__ is None  # noqa: PT017 - either outcome is right
