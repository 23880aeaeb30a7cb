import json
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from csidriver.core.status import Status
from csidriver.demo.kubelet import Kubelet
from tests.node.plugin import NAMESPACE, Node, companion, follow_threads, names, sub_path_mount
from tests.waiting import until

pytestmark = pytest.mark.mounts

Code = grpc.StatusCode


def converged(node: Node) -> None:
    """The volume is as after a plain publish."""
    assert len(node.mounts_at()) == len(node.mounts_at(node.token_folder)) == 1
    assert names(node.target()) == ["token"]
    node.rotate("at-converged", 99)
    node.stop()
    node.start()
    node.rotate("at-after-restart", 100)
    node.unpublish()
    until(node.nothing_left, "the end of all")
    assert names(node.token_folder) == []


def lose_record(node: Node) -> None:
    node.stop()
    (node.folder() / "volume.json").unlink()


def test_a_new_process_goes_on_without_a_call_of_kubelet(published: Node) -> None:
    volumes = [f"v{number}" for number in range(1, 9)]
    for volume in volumes:
        published.publish(published.request(volume))
    inode, mounts = published.file().stat().st_ino, published.mounts_at()
    published.stop()
    assert published.content() == "at-1"
    until(lambda: not follow_threads(), "the end of the watch")
    published.write_token("at-2", 2)
    published.start()
    until(lambda: {published.content(volume) for volume in volumes} == {"at-2"}, "rotation")
    assert published.file().stat().st_ino == inode
    assert published.mounts_at() == mounts


def test_a_reboot_leaves_no_token_and_volumes_come_and_go_afterwards(published: Node) -> None:
    published.publish(published.request("v2"))
    published.stop()
    for mount in reversed(published.mounts.table()):
        if Path(mount.target).is_relative_to(published.root):
            published.mounts.unmount(Path(mount.target))
    Kubelet(published.kubelet_dir, published.mounts, NAMESPACE).prepare()
    for folder in (published.target(), published.target("v2"), published.token_folder):
        assert names(folder) == []
    published.start()
    published.publish(published.request())
    published.unpublish("v2")
    assert not published.target("v2").exists()
    converged(published)


DAMAGES: dict[str, Callable[[str], str]] = {
    "empty": lambda _: "",
    "nested without end": lambda _: "[" * 100_000,
    "newer version": lambda text: text.replace('"version": 1', '"version": 2'),
    "no volume": lambda _: '{"version": 1, "volume": null}',
    "no attributes": lambda text: text.replace('"attributes"', '"attribute"'),
    "a template that does not parse": lambda text: text.replace("$(ACCESS_TOKEN)", "$(NOPE)"),
    "a template that is no text": lambda text: text.replace('"$(ACCESS_TOKEN)"', "5"),
    "the id of another volume": lambda text: text.replace("csi-v1", "csi-v7"),
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
    until(lambda: published.content("v2") == "at-2", "rotation of the other volume")
    published.publish(published.request())
    assert json.loads(record.read_text(encoding="utf-8")) == json.loads(good)
    published.rotate("at-3", 3)


def test_a_volume_with_a_damaged_record_can_be_unpublished(published: Node) -> None:
    published.stop()
    (published.folder() / "volume.json").write_bytes(b"")
    published.start()
    with published.file().open("rb") as reader:
        published.unpublish()
        assert reader.read() == b""
    until(published.nothing_left, "the end of all")
    assert names(published.token_folder) == []


def test_a_volume_without_a_record_is_adopted_while_a_pod_keeps_its_file_open(
    published: Node,
) -> None:
    lose_record(published)
    published.write_token("at-2", 2)
    published.start()
    with published.file().open("rb") as reader:
        published.publish(published.request())
        assert reader.read() == b"at-1"
    until(lambda: published.content() == "at-2", "the rotation")
    converged(published)


def test_a_running_pod_keeps_its_file_when_adopting_it_fails(published: Node) -> None:
    """What an earlier call has done is not undone, whatever this one meets."""
    lose_record(published)
    bind = sub_path_mount(published)
    published.write_companion(companion(None, 2, status=Status.NEEDS_REAUTH))
    published.start()
    with bind.open("rb") as reader:
        assert published.refused(published.request())[0] is Code.UNAVAILABLE
        assert reader.read() == b"at-1"
    assert bind.read_bytes() == b"at-1"
    assert published.content() == "at-1"
    assert len(published.mounts_at()) == 1
    published.write_token("at-3", 3)
    published.stop()
    published.start()
    published.publish(published.request())
    assert bind.read_bytes() == b"at-3"


def test_folders_that_belong_to_nothing_are_swept_at_start(published: Node) -> None:
    published.publish(published.request("kept"))
    lose_record(published)  # a mounted folder stays
    orphan = published.token_folder / ("0" * 32)
    (orphan / "data").mkdir(parents=True)
    (orphan / "data" / "token").write_text("a token of a publish that was cut off")
    published.start()
    until(lambda: not orphan.exists(), "the sweep")
    assert published.content("kept") == published.content() == "at-1"
    for volume in ("v1", "kept"):
        published.unpublish(volume)
        assert not published.folder(volume).exists()
