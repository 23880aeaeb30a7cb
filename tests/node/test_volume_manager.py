import os
import stat
from functools import partial
from pathlib import Path

import grpc
import pytest

from csidriver._proto import csi_pb2
from csidriver.config import NodeLimits
from csidriver.core import annotations
from csidriver.core import names as core_names
from csidriver.core.status import Status
from csidriver.node.token_fs import DATA_FOLDER
from tests.node.plugin import (
    SOURCE,
    TOKENS,
    Node,
    companion,
    follow_threads,
    give_template,
    names,
    outcome,
    refused,
    sub_path_mount,
    token,
    waiting_publish,
)
from tests.waiting import until

pytestmark = pytest.mark.mounts

Code = grpc.StatusCode
REWRITES = "oauth2_csi_node_rewrites_total"


def unchanged(node: Node) -> float:
    """How many looks at files have found nothing to do."""
    return node.metric(REWRITES, outcome="unchanged")


@pytest.mark.other_uids
def test_owner_group_and_mode_are_those_asked_for_and_no_hindrance(node: Node) -> None:
    node.write_token("at-1")
    node.publish(node.request(attributes={"owner": "1001"}, group="2000"))
    node.write_token("at-2", 2)
    until(lambda: node.metric(REWRITES, outcome="leased") == 1, "the rotation")
    found = node.file().stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (1001, 2000, 0o440)


def test_five_publishes_make_one_mount_and_touch_the_file_once(published: Node) -> None:
    before = published.file().stat()
    assert published.file().read_bytes() == b"at-1"
    assert (before.st_uid, before.st_gid, stat.S_IMODE(before.st_mode)) == (0, 0, 0o400)
    assert names(published.target()) == ["token"]
    for _ in range(4):
        published.publish(published.request())
    after = published.file().stat()
    assert (after.st_mtime_ns, after.st_ctime_ns) == (before.st_mtime_ns, before.st_ctime_ns)
    assert len(published.mounts_at()) == len(follow_threads()) == 1


def state_of(node: Node) -> list[object]:
    """What must not change: mount, file, record."""
    record = (node.folder() / "volume.json").read_bytes()
    return [node.mounts_at(), node.file().stat(), node.content(), record]


def test_a_republish_that_asks_for_something_else_is_refused_and_changes_nothing(
    published: Node,
) -> None:
    of_secret, of_namespace, of_pod = (published.request() for _ in range(3))
    of_secret.volume_context["secretName"] = "other"
    of_namespace.volume_context[core_names.POD_NAMESPACE] = "bob"
    of_pod.target_path = of_pod.target_path.replace("uid-1", "uid-2")
    of_pod.volume_context[core_names.POD_UID] = "uid-2"
    Path(of_pod.target_path).parent.mkdir(parents=True)
    of_target = published.request("v2")
    of_target.volume_id = "csi-v1"
    before = state_of(published)
    for request, named in (
        (of_secret, "secretName"),
        (of_namespace, "pod"),
        (of_pod, "target_path, pod"),
        (of_target, "target_path"),
    ):
        code, text = published.refused(request)
        assert (code, named in text) == (Code.ALREADY_EXISTS, True)
    assert state_of(published) == before
    assert len(list(published.kubelet_dir.glob("pods/*/volumes/*/*/mount"))) == 1


@pytest.mark.parametrize("lost", ["the mount", "the record"])
def test_a_publish_on_the_target_of_another_volume_is_refused(published: Node, lost: str) -> None:
    published.stop()
    if lost == "the record":
        (published.folder() / "volume.json").unlink()
    else:
        published.mounts.unmount(published.target())
    published.start()
    request = published.request()
    request.volume_id = "csi-v2"
    code, text = published.refused(request)
    assert (code, str(published.target()) in text) == (Code.ALREADY_EXISTS, True)
    assert not published.folder("v2").exists()
    assert len(published.mounts_at()) == (lost != "the mount")
    published.publish(published.request())
    assert published.content() == "at-1"


@pytest.mark.parametrize("mounted", [True, False])
def test_unpublish_with_the_id_of_another_volume_is_refused(
    published: Node, *, mounted: bool
) -> None:
    published.publish(published.request("v2"))
    if not mounted:
        published.mounts.unmount(published.target())
    target = str(published.target())
    for other in ("csi-v2", "csi-unknown"):
        request = csi_pb2.NodeUnpublishVolumeRequest(volume_id=other, target_path=target)
        code, text = refused(partial(published.call, "NodeUnpublishVolume", request))
        assert (code, target in text) == (Code.INVALID_ARGUMENT, True)
    assert len(published.mounts_at()) == mounted
    published.publish(published.request())
    assert published.content() == published.content("v2") == "at-1"


def test_a_republish_puts_a_missing_file_back_and_tells_that_subpath_mounts_keep_the_old_one(
    published: Node,
) -> None:
    before = published.file().stat()
    kept = sub_path_mount(published)
    (published.folder() / DATA_FOLDER / "token").unlink()
    for _ in range(2):
        code, text = published.refused(published.request())
        assert (code, "delete the pod" in text) == (Code.UNAVAILABLE, True)
    assert published.metric("oauth2_csi_node_outdated_volumes") == 1
    after = published.file().stat()
    assert (published.content(), after.st_mode) == ("at-1", before.st_mode)
    published.rotate("at-2")
    assert kept.read_text(encoding="utf-8") == "at-1"


def test_a_republish_without_a_file_and_without_a_token_is_uncertain(published: Node) -> None:
    (published.folder() / DATA_FOLDER / "token").unlink()
    published.clock.ahead = 4000
    code, text = published.refused(published.request())
    assert (code, f"{SOURCE} is missing" in text) == (Code.UNAVAILABLE, True)
    assert names(published.target()) == []
    assert len(published.mounts_at()) == 1


def test_a_republish_needs_no_store(node: Node) -> None:
    give_template(node, "<$(ACCESS_TOKEN)>")
    node.write_token("at-1")
    request = node.request(attributes={"templateConfigMapName": "shape"})
    node.publish(request)
    node.store_root.rename(node.root / "away")
    node.store_root.write_bytes(b"no folder")
    node.mounts.unmount(node.target())  # and it mounts again what somebody unmounted
    file = node.folder() / DATA_FOLDER / "token"
    file.chmod(0o600)
    file.write_bytes(b"<at-1> and more")
    for _ in range(2):
        node.publish(request)
    until(lambda: node.content() == "<at-1>", "the rewrite")
    assert len(node.mounts_at()) == 1


def test_a_new_token_reaches_volume_and_sub_path_in_the_same_file(published: Node) -> None:
    bind, inode = sub_path_mount(published), published.file().stat().st_ino
    for generation, value in enumerate(["at-2-" + "x" * 6000, "at-3"], 2):
        published.write_token(value, generation)
        until(lambda value=value: published.content() == value, "rotation")  # type: ignore[misc]
        assert bind.read_text(encoding="utf-8") == value
        assert {published.file().stat().st_ino, bind.stat().st_ino} == {inode}
    until(lambda: published.metric(REWRITES, outcome="leased") == 2, "counting")


def test_unpublish_leaves_nothing_and_both_calls_may_be_repeated(published: Node) -> None:
    for _ in range(2):
        published.publish(published.request())
        assert published.content() == "at-1"
        for _ in range(2):
            published.unpublish()
        until(published.nothing_left, "the end of all")
    assert names(published.token_folder) == []
    assert names(published.target().parent) == []
    assert published.metric("oauth2_csi_node_volumes") == 0


def test_unpublish_of_an_unknown_volume_is_fine(node: Node) -> None:
    node.request("v9")
    node.unpublish("v9")
    node.target("v9").mkdir()
    node.unpublish("v9")
    assert not node.target("v9").exists()


@pytest.mark.parametrize("gone", ["mount", "target", "folder of the pod"])
def test_unpublish_is_fine_with_what_is_gone_already(published: Node, gone: str) -> None:
    published.mounts.unmount(published.target())
    if gone != "mount":
        published.target().rmdir()
    if gone == "folder of the pod":
        published.target().parent.rmdir()
    published.unpublish()
    until(published.nothing_left, "the end of all")


def test_unpublish_empties_what_stays_although_it_cannot_finish(published: Node) -> None:
    bind, precious = sub_path_mount(published), published.target() / "precious"
    fd = os.open(published.file(), os.O_RDONLY)
    try:
        published.mounts.unmount(published.target())
        precious.touch()
        for _ in range(2):
            assert refused(published.unpublish)[0] is Code.INTERNAL
            assert precious.exists()
        assert os.read(fd, 100) == bind.read_bytes() == b""
    finally:
        os.close(fd)
    precious.unlink()
    published.unpublish()
    until(published.nothing_left, "the end of all")


def test_a_first_publish_waits_for_what_is_missing(node: Node) -> None:
    call = waiting_publish(node)
    node.write_companion(companion(None, status=Status.PENDING))
    node.write_token("at-1", 2)
    assert outcome(call)[0] is Code.OK
    assert node.content() == "at-1"


def test_a_publish_without_a_companion_says_what_to_look_at_and_leaves_nothing(
    stopped_node: Node,
) -> None:
    stopped_node.start(publish_wait=0.1)
    (first, text), second = [stopped_node.refused(stopped_node.request()) for _ in range(2)]
    assert (first, text) == second
    assert first is Code.UNAVAILABLE
    for named in (str(SOURCE), annotations.IS_TOKEN, "refresher"):
        assert named in text
    until(stopped_node.nothing_left, "the end of all")
    assert names(stopped_node.token_folder) == []


def test_a_pod_starts_only_with_a_token_that_lives_as_long_as_it_asks_for(
    stopped_node: Node,
) -> None:
    stopped_node.start(publish_wait=1.0)
    # A user must log in, but not yet.
    over = companion(token("at-1", left=500), status=Status.NEEDS_REAUTH, message="log in again")
    stopped_node.write_companion(over)
    stopped_node.publish(stopped_node.request("v1", {"minValidity": "100"}))
    request = stopped_node.request("v2", {"minValidity": "1000"})
    code, text = stopped_node.refused(request)
    assert (code, "log in again" in text) == (Code.FAILED_PRECONDITION, True)
    assert not stopped_node.file("v2").exists()


def test_a_republish_fails_softly_once_the_token_has_expired(published: Node) -> None:
    published.clock.ahead = 3000
    published.publish(published.request())
    published.clock.ahead = 4000
    code, text = published.refused(published.request())
    assert (code, str(SOURCE) in text) == (Code.UNAVAILABLE, True)
    assert (published.content(), len(published.mounts_at())) == ("at-1", 1)
    published.write_token("at-2", 2, left=9000, lifetime=9000)
    until(lambda: published.content() == "at-2", "rotation")
    published.publish(published.request())


def test_a_companion_that_comes_to_harm_leaves_the_old_token_in_place(published: Node) -> None:
    def look() -> None:
        until(lambda: unchanged(published) > looks, "a look at the file")
        published.publish(published.request())
        assert published.content() == "at-1"

    looks = unchanged(published)
    published.write_token("at-2", 2, left=-1)
    look()
    looks = unchanged(published)
    published.store.remove("Secret", TOKENS, SOURCE.companion)
    look()
    published.rotate("at-3", 3)


def test_a_full_file_system_is_said_and_harms_no_other_volume(stopped_node: Node) -> None:
    stopped_node.start(size=8 * 4096)
    stopped_node.write_token("at-1")
    stopped_node.publish(stopped_node.request("v1"))
    request = stopped_node.request("v2", {"template": "x" * 16_000})
    assert stopped_node.refused(request)[0] is Code.RESOURCE_EXHAUSTED
    assert not stopped_node.target("v2").exists()
    assert not stopped_node.folder("v2").exists()
    stopped_node.publish(stopped_node.request("v3"))
    assert stopped_node.content("v1") == stopped_node.content("v3") == "at-1"


def test_a_target_that_cannot_be_made_leaves_nothing(node: Node) -> None:
    node.write_token("at-1")
    request = node.request()
    node.target().write_bytes(b"in the way")
    assert node.refused(request)[0] is Code.INTERNAL
    assert not node.folder().exists()
    assert node.target().read_bytes() == b"in the way"
    until(lambda: not follow_threads(), "the end of the watch")


def test_waiting_publishes_do_not_hold_up_others(
    stopped_node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So that no call ends by itself.
    monkeypatch.setattr("csidriver.node.publish_wait.FIRST_ANSWER", 60.0)
    stopped_node.start(publish_wait=60.0)
    calls = [
        stopped_node.publish_async(stopped_node.request(f"w{n}", {"secretName": f"none-{n}"}))
        for n in range(14)
    ]
    until(lambda: sum(call.done() for call in calls) == 6, "that half of the threads wait")
    assert {outcome(call)[0] for call in calls if call.done()} == {Code.UNAVAILABLE}
    stopped_node.write_token("at-1")
    assert outcome(stopped_node.publish_async(stopped_node.request()))[0] is Code.OK
    stopped_node.unpublish()
    assert sum(call.done() for call in calls) == 6
    stopped_node.stop()
    assert {outcome(call)[0] for call in calls} == {Code.UNAVAILABLE}


def test_one_more_volume_than_there_may_be_is_refused_and_leaves_nothing(published: Node) -> None:
    published.publish(published.request("v2"))
    published.stop()
    published.start(limits=NodeLimits(1, 1, 1, 1, 1))
    for left, volume in ((2, "v1"), (1, "v2")):  # all that there were are taken over
        published.publish(published.request(volume))
        code, text = published.refused(published.request("v3"))
        assert (code, "--volumes-per-pod" in text) == (Code.RESOURCE_EXHAUSTED, True)
        assert not published.folder("v3").exists()
        until(lambda left=left: len(follow_threads()) == left, "the end")  # type: ignore[misc]
        published.unpublish(volume)
    published.publish(published.request("v3"))
    assert published.content("v3") == "at-1"
