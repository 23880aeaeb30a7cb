import json
from collections.abc import Callable
from dataclasses import replace

import grpc
import pytest

from csidriver.core.status import Status
from csidriver.node.token_fs import DATA_FOLDER
from tests.node.plugin import SOURCE, TIMEOUT, Node, companion, eventually, follow_threads, names

pytestmark = pytest.mark.mounts

Code = grpc.StatusCode


def rotates(node: Node, value: str, generation: int) -> None:
    node.write_token(value, generation)
    eventually(lambda: node.content() == value, "rotation")


def converged(node: Node) -> None:
    """The volume is as after a plain publish."""
    assert len(node.mounts_at()) == 1
    assert len(node.mounts_at(node.token_folder)) == 1
    assert names(node.target()) == ["token"]
    rotates(node, "at-converged", 99)
    node.stop()
    node.start()
    rotates(node, "at-after-restart", 100)
    node.unpublish()
    eventually(node.nothing_left, "the end of all")


def test_a_new_process_goes_on_without_a_call_of_kubelet(published: Node) -> None:
    inode, mounts = published.file().stat().st_ino, published.mounts_at()
    published.stop()
    assert published.content() == "at-1"
    eventually(lambda: not follow_threads(), "the end of the watch")
    published.write_token("at-2", 2)
    published.start()
    eventually(lambda: published.content() == "at-2", "rotation")
    assert published.file().stat().st_ino == inode
    assert published.mounts_at() == mounts
    converged(published)


def test_a_new_process_gives_a_new_token_to_every_volume_of_one_secret(node: Node) -> None:
    """The token arrives when the process has found a few of them."""
    volumes = [f"v{number}" for number in range(32)]
    node.write_token("at-1")
    for volume in volumes:
        node.publish(node.request(volume))
    node.stop()
    node.write_token("at-2", 2)
    node.start()
    eventually(lambda: {node.content(volume) for volume in volumes} == {"at-2"}, "rotation")


def changed(change: Callable[[dict[str, object]], object]) -> Callable[[str], str]:
    def damage(text: str) -> str:
        content = json.loads(text)
        change(content)
        return json.dumps(content)

    return damage


DAMAGES: dict[str, Callable[[str], str]] = {
    "empty": lambda _: "",
    "half": lambda text: text[: len(text) // 2],
    "no JSON": lambda _: "volume",
    "nested without end": lambda _: "[" * 100_000,
    "a list": lambda _: "[]",
    "newer version": lambda text: text.replace('"version": 1', '"version": 2'),
    "no volume": changed(lambda c: c.update(volume=None)),
    "a list of a volume": changed(lambda c: c.update(volume=[])),
    "no attributes": lambda text: text.replace('"attributes"', '"attribute"'),
    "a template that does not parse": lambda text: text.replace("$(ACCESS_TOKEN)", "$(NOPE)"),
    "a template that is no text": lambda text: text.replace('"$(ACCESS_TOKEN)"', "5"),
    "an id that is no text": lambda text: text.replace('"csi-v1"', "5"),
    "the id of another volume": lambda text: text.replace("csi-v1", "csi-v7"),
    "a file name that is no text": lambda text: text.replace('"token"', "5"),
    "a namespace that is no text": lambda text: text.replace('"alice"', "[]"),
    "an owner that is no number": lambda text: text.replace('"owner": 0', '"owner": "root"'),
}


@pytest.mark.parametrize("damage", [pytest.param(d, id=name) for name, d in DAMAGES.items()])
def test_a_damaged_record_is_set_aside_and_the_next_publish_converges(
    published: Node, damage: Callable[[str], str]
) -> None:
    published.publish(published.request("v2"))
    published.stop()
    record = published.folder() / "volume.json"
    good = record.read_text(encoding="utf-8")
    record.write_text(damage(good), encoding="utf-8")
    assert record.read_text(encoding="utf-8") != good
    published.start()
    assert published.metric("oauth2_csi_node_volumes") == 1
    published.write_token("at-2", 2)
    eventually(lambda: published.content("v2") == "at-2", "rotation of the other volume")
    published.unpublish("v2")
    published.publish(published.request())
    assert json.loads(record.read_text(encoding="utf-8")) == json.loads(good)
    converged(published)


def test_a_volume_with_a_damaged_record_can_be_unpublished(published: Node) -> None:
    published.stop()
    (published.folder() / "volume.json").write_bytes(b"")
    published.start()
    with published.file().open("rb") as reader:
        published.unpublish()
        assert reader.read() == b""
    eventually(published.nothing_left, "the end of all")
    assert names(published.token_folder) == []


def test_a_crash_between_mount_and_record_converges(published: Node) -> None:
    published.stop()
    (published.folder() / "volume.json").unlink()
    published.start()
    published.publish(published.request())
    converged(published)


@pytest.mark.parametrize("crash", ["folder", "data", "draft", "file"])
def test_a_crash_before_the_mount_converges(node: Node, crash: str) -> None:
    node.write_token("at-1")
    node.stop()
    data = node.folder() / DATA_FOLDER
    (node.folder() if crash == "folder" else data).mkdir(parents=True)
    if crash == "draft":
        (data / "..draft").write_bytes(b"half")
    if crash == "file":
        (data / "token").write_bytes(b"")
        (data / "token").chmod(0o400)
    node.start()
    node.publish(node.request())
    converged(node)


def test_a_volume_without_a_record_is_adopted_while_a_pod_keeps_its_file_open(
    published: Node,
) -> None:
    published.stop()
    (published.folder() / "volume.json").unlink()
    published.write_token("at-2", 2)
    published.start()
    with published.file().open("rb") as reader:
        published.publish(published.request())
        assert reader.read() == b"at-1"
    eventually(lambda: published.content() == "at-2", "the rotation")
    converged(published)


def test_a_publish_after_a_half_failed_unpublish_is_a_first_one(published: Node) -> None:
    published.mounts.unmount(published.target())
    (published.target() / "in the way").touch()
    with pytest.raises(grpc.RpcError):
        published.unpublish()
    (published.target() / "in the way").unlink()
    published.publish(published.request())
    assert published.content() == "at-1"
    converged(published)


@pytest.mark.parametrize("obstacle", ["no store", "needs login"])
def test_a_running_pod_keeps_its_file_when_adopting_it_fails(
    published: Node, obstacle: str
) -> None:
    """What an earlier call has done is not undone, whatever this one meets."""
    published.stop()
    (published.folder() / "volume.json").unlink()
    bind = published.root / "bound"
    bind.touch()
    published.mounts.bind(published.file(), bind)
    if obstacle == "no store":
        published.break_store()
    else:
        published.write_companion(companion(None, 2, status=Status.NEEDS_REAUTH))
    published.start(publish_wait=0.1)
    with bind.open("rb") as reader:
        code, _ = published.refused(published.request())
        assert code is Code.UNAVAILABLE
        assert reader.read() == b"at-1"
    assert bind.read_bytes() == b"at-1"
    assert published.content() == "at-1"
    assert len(published.mounts_at()) == 1
    if obstacle == "no store":
        published.repair_store()
    published.write_token("at-3", 3)
    published.stop()
    published.start(publish_wait=TIMEOUT)
    published.publish(published.request())
    assert bind.read_bytes() == b"at-3"
    converged(published)


def test_a_restart_does_not_forget_that_a_token_expires(published: Node) -> None:
    published.stop()
    published.clock.ahead = 4000
    published.start()
    eventually(
        lambda: published.metric("oauth2_csi_node_rewrites_total", outcome="unchanged") > 0,
        "a look at the file",
    )
    code, text = published.refused(published.request())
    assert code is Code.UNAVAILABLE
    assert str(SOURCE) in text
    assert published.content() == "at-1"


def test_a_restart_without_a_store_keeps_volumes_and_their_republish(published: Node) -> None:
    published.stop()
    published.break_store()
    published.start()
    published.publish(published.request())
    assert published.content() == "at-1"
    published.unpublish()
    eventually(published.nothing_left, "the end of all")


def test_a_stop_ends_waiting_publishes_soon(stopped_node: Node) -> None:
    stopped_node.settings = replace(stopped_node.settings, publish_wait=60.0)
    stopped_node.start()
    call = stopped_node.publish_async(stopped_node.request())
    eventually(follow_threads, "a watch")
    stopped_node.stop()
    error = call.exception(timeout=5)
    assert error.code() is Code.UNAVAILABLE
    assert str(SOURCE) in error.details()
    eventually(stopped_node.nothing_left, "the end of all")
