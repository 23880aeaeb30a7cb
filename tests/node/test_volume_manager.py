import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from csidriver._proto import csi_pb2
from csidriver.adapters.directory import DirectoryStore
from csidriver.config import NodeLimits
from csidriver.core import annotations
from csidriver.core import names as core_names
from csidriver.core.kubernetes.secret import Secret, SecretPatch
from csidriver.core.names import SourceRef
from csidriver.core.status import Status
from csidriver.node.token_fs import DATA_FOLDER
from tests.node.plugin import (
    SOURCE,
    TIMEOUT,
    TOKENS,
    Node,
    companion,
    eventually,
    follow_threads,
    give_template,
    names,
    outcome,
    refused,
    sub_path_mount,
    token,
    waiting_publish,
)

pytestmark = pytest.mark.mounts

Code = grpc.StatusCode


def unchanged(node: Node) -> float:
    """How many looks at files have found nothing to do."""
    return node.metric("oauth2_csi_node_rewrites_total", outcome="unchanged")


def refusal(node: Node, request: Any) -> tuple[grpc.StatusCode, str]:
    """How the plugin refuses once it has looked; on a loaded machine a call may end before that."""
    refusals: list[tuple[grpc.StatusCode, str]] = []

    def looked() -> bool:
        refusals.append(node.refused(request))
        return "there is no token" not in refusals[-1][1]

    eventually(looked, "a look at the store")
    return refusals[-1]


def test_a_published_file_holds_the_exact_token_for_its_owner_alone(node: Node) -> None:
    node.write_token("at-1")
    node.publish(node.request())
    found = node.file().stat()
    assert node.file().read_bytes() == b"at-1"
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (0, 0, 0o400)
    assert names(node.target()) == ["token"]


@pytest.mark.other_uids
@pytest.mark.parametrize(
    ("attributes", "group", "expected"),
    [
        pytest.param({"owner": "1001"}, "", (1001, 1001, 0o400), id="owner"),
        pytest.param({"owner": "1001", "group": "7"}, "", (1001, 7, 0o400), id="group"),
        pytest.param({"owner": "1001", "mode": "0440"}, "", (1001, 1001, 0o440), id="mode"),
        pytest.param({"owner": "1001"}, "2000", (1001, 2000, 0o440), id="fsGroup"),
        pytest.param({}, "2000", (0, 2000, 0o440), id="fsGroup alone"),
        pytest.param({"group": "7"}, "2000", (0, 7, 0o400), id="group beats fsGroup"),
        pytest.param({"mode": "0400"}, "2000", (0, 2000, 0o400), id="mode beats fsGroup"),
    ],
)
def test_owner_group_and_mode_are_those_asked_for(
    node: Node, attributes: dict[str, str], group: str, expected: tuple[int, int, int]
) -> None:
    node.write_token("at-1")
    request = node.request(attributes=attributes, group=group)
    if "owner" not in attributes:
        del request.volume_context["owner"]
    node.publish(request)
    found = node.file().stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == expected


@pytest.mark.parametrize("name", ["-rf", ".draft", ".volume.json", "data", "x" * 255])
def test_odd_file_names_are_just_names(node: Node, name: str) -> None:
    node.write_token("at-1")
    node.publish(node.request(attributes={"fileName": name}))
    assert names(node.target()) == [name]
    assert (node.target() / name).read_bytes() == b"at-1"
    node.unpublish()
    eventually(node.nothing_left, "the end of all")


def test_five_publishes_make_one_mount(node: Node) -> None:
    node.write_token("at-1")
    for _ in range(5):
        node.publish(node.request())
    assert len(node.mounts_at()) == 1
    assert len(follow_threads()) == 1


def test_a_republish_touches_nothing_when_the_token_is_the_same(node: Node) -> None:
    node.write_token("at-1")
    node.publish(node.request())
    before = node.file().stat()
    node.publish(node.request())
    after = node.file().stat()
    assert (after.st_mtime_ns, after.st_ctime_ns) == (before.st_mtime_ns, before.st_ctime_ns)


def test_a_republish_puts_the_right_bytes_back(node: Node) -> None:
    node.write_token("at-1")
    node.publish(node.request())
    file = node.folder() / DATA_FOLDER / "token"
    file.chmod(0o600)
    file.write_bytes(b"at-1 and more")
    node.publish(node.request())
    eventually(lambda: node.content() == "at-1", "the rewrite")


def state_of(node: Node, *volumes: str) -> list[object]:
    """What must not change: mounts, files, records."""
    return [
        (
            node.mounts_at(node.target(volume)),
            node.file(volume).stat(),
            node.content(volume),
            (node.folder(volume) / "volume.json").read_bytes(),
        )
        for volume in volumes
    ]


@pytest.mark.parametrize(
    ("second", "word"),
    [
        pytest.param({"secretName": "other"}, "secretName", id="secretName"),
        pytest.param({core_names.POD_NAMESPACE: "bob"}, "pod", id="namespace"),
    ],
)
def test_a_republish_that_asks_for_something_else_is_refused_and_changes_nothing(
    node: Node, second: dict[str, str], word: str
) -> None:
    node.write_token("at-1")
    node.publish(node.request())
    before = state_of(node, "v1")
    request = node.request(attributes=second)
    request.volume_context.update(second)
    code, text = node.refused(request)
    assert code is Code.ALREADY_EXISTS
    assert word in text
    assert state_of(node, "v1") == before


@pytest.mark.parametrize("change", ["target", "pod"])
def test_a_republish_elsewhere_is_refused_and_changes_nothing(node: Node, change: str) -> None:
    node.write_token("at-1")
    node.publish(node.request())
    other = node.request("v2")
    other.volume_id = "csi-v1"
    if change == "pod":
        target = node.kubelet_dir / "pods/uid-2/volumes/kubernetes.io~csi/v2/mount"
        target.parent.mkdir(parents=True)
        other.target_path = str(target)
        other.volume_context[core_names.POD_UID] = "uid-2"
    before = state_of(node, "v1")
    code, text = node.refused(other)
    assert code is Code.ALREADY_EXISTS
    assert change in text
    assert not Path(other.target_path).exists()
    assert state_of(node, "v1") == before


@pytest.mark.parametrize(
    "second",
    [
        pytest.param({"fileName": "token"}, id="fileName"),
        pytest.param({"owner": "7"}, id="owner"),
        pytest.param({"template": "$(ACCESS_TOKEN)"}, id="template"),
        pytest.param({"mode": "0440"}, id="mode"),
    ],
)
def test_a_republish_keeps_the_attributes_of_the_first_publish(
    node: Node, second: dict[str, str]
) -> None:
    node.write_token("at-1")
    first = {"fileName": "special", "template": "<$(ACCESS_TOKEN)>", "minValidity": "5"}
    node.publish(node.request(attributes=first))
    node.publish(node.request(attributes=second))
    assert (node.target() / "special").read_bytes() == b"<at-1>"
    assert names(node.target()) == ["special"]


def test_a_target_that_shows_the_volume_is_no_other_target(node: Node) -> None:
    node.write_token("at-1")
    node.publish(node.request())
    other = node.request("v2")
    other.volume_id = "csi-v1"
    node.target("v2").mkdir()
    node.mounts.bind(node.target(), node.target("v2"))
    node.publish(other)
    assert len(node.mounts_at(node.target("v2"))) == 1


@pytest.mark.parametrize("mounted", [True, False])
@pytest.mark.parametrize("restarted", [True, False])
def test_a_publish_on_the_target_of_another_volume_is_refused(
    node: Node, *, mounted: bool, restarted: bool
) -> None:
    node.write_token("at-1")
    node.publish(node.request())
    if restarted:
        node.stop()
        node.start()
    if not mounted:
        node.mounts.unmount(node.target())
    request = node.request()
    request.volume_id = "csi-v2"
    code, text = node.refused(request)
    assert code is Code.ALREADY_EXISTS
    assert str(node.target()) in text
    assert not node.folder("v2").exists()
    assert len(node.mounts_at()) == mounted
    node.publish(node.request())
    assert node.content() == "at-1"


def test_a_publish_over_a_volume_without_a_record_is_refused(node: Node) -> None:
    node.write_token("at-1")
    node.publish(node.request())
    node.stop()
    (node.folder() / "volume.json").unlink()
    node.start()
    request = node.request()
    request.volume_id = "csi-v2"
    assert node.refused(request)[0] is Code.ALREADY_EXISTS
    assert len(node.mounts_at()) == 1
    assert node.content() == "at-1"


@pytest.mark.parametrize("other", ["unknown", "published elsewhere"])
@pytest.mark.parametrize("mounted", [True, False])
def test_unpublish_with_the_id_of_another_volume_is_refused(
    node: Node, other: str, *, mounted: bool
) -> None:
    node.write_token("at-1")
    node.publish(node.request())
    if other != "unknown":
        node.publish(node.request("v2"))
    if not mounted:
        node.mounts.unmount(node.target())
    request = csi_pb2.NodeUnpublishVolumeRequest(volume_id="csi-v2", target_path=str(node.target()))
    code, text = refused(lambda: node.call("NodeUnpublishVolume", request))
    assert code is Code.INVALID_ARGUMENT
    assert str(node.target()) in text
    assert len(node.mounts_at()) == mounted
    node.publish(node.request())
    assert node.content() == "at-1"
    assert other == "unknown" or node.content("v2") == "at-1"
    node.unpublish()
    node.unpublish("v2")
    eventually(node.nothing_left, "the end of all")


def test_a_republish_puts_a_missing_file_back_and_tells_that_subpath_mounts_keep_the_old_one(
    node: Node,
) -> None:
    node.write_token("at-1")
    node.publish(node.request())
    before = node.file().stat()
    kept = sub_path_mount(node)
    (node.folder() / DATA_FOLDER / "token").unlink()
    for _ in range(2):
        code, text = node.refused(node.request())
        assert code is Code.UNAVAILABLE
        assert "delete the pod" in text
    assert node.metric("oauth2_csi_node_outdated_volumes") == 1
    assert node.content() == "at-1"
    after = node.file().stat()
    assert (after.st_uid, after.st_gid, after.st_mode) == (
        before.st_uid,
        before.st_gid,
        before.st_mode,
    )
    assert len(node.mounts_at()) == 1
    node.write_token("at-2", 2)
    eventually(lambda: node.content() == "at-2", "rotation")
    assert kept.read_text(encoding="utf-8") == "at-1"


@pytest.mark.parametrize("why", ["never seen", "expired"])
def test_a_republish_without_a_file_and_without_a_token_is_uncertain(node: Node, why: str) -> None:
    node.write_token("at-1")
    node.publish(node.request())
    (node.folder() / DATA_FOLDER / "token").unlink()
    if why == "expired":
        node.clock.ahead = 4000
    else:
        node.stop()
        node.break_store()
        node.start()
    code, text = node.refused(node.request())
    assert code is Code.UNAVAILABLE
    assert str(SOURCE) in text
    assert "is missing" in text
    assert names(node.target()) == []
    assert len(node.mounts_at()) == 1


def test_a_republish_needs_no_store(node: Node) -> None:
    give_template(node, "<$(ACCESS_TOKEN)>")
    node.write_token("at-1")
    request = node.request(attributes={"templateConfigMapName": "shape"})
    node.publish(request)
    node.break_store()
    for _ in range(3):
        node.publish(request)
    assert node.content() == "<at-1>"


def test_a_republish_mounts_again_what_somebody_unmounted(node: Node) -> None:
    node.write_token("at-1")
    node.publish(node.request())
    node.mounts.unmount(node.target())
    node.publish(node.request())
    assert node.content() == "at-1"
    assert len(node.mounts_at()) == 1


def test_a_new_token_reaches_volume_and_sub_path_in_the_same_file(node: Node) -> None:
    node.write_token("at-1")
    node.publish(node.request())
    bind, inode = sub_path_mount(node), node.file().stat().st_ino
    for generation, value in enumerate(["at-2-" + "x" * 6000, "at-3"], 2):
        node.write_token(value, generation)
        eventually(lambda value=value: node.content() == value, "rotation")  # type: ignore[misc]
        assert bind.read_text(encoding="utf-8") == value
        assert {node.file().stat().st_ino, bind.stat().st_ino} == {inode}
    eventually(
        lambda: node.metric("oauth2_csi_node_rewrites_total", outcome="leased") == 2, "counting"
    )


def test_volumes_of_one_secret_share_one_watch_to_the_last(node: Node) -> None:
    node.write_token("at-1")
    for volume in ("v1", "v2"):
        node.publish(node.request(volume))
    assert len(follow_threads()) == 1
    node.write_token("at-2", 2)
    eventually(lambda: {node.content("v1"), node.content("v2")} == {"at-2"}, "rotation")
    node.unpublish("v1")
    node.write_token("at-3", 3)
    eventually(lambda: node.content("v2") == "at-3", "rotation")
    node.unpublish("v2")
    eventually(lambda: not follow_threads(), "the end of the watch")


def test_unpublish_leaves_nothing(node: Node) -> None:
    node.write_token("at-1")
    node.publish(node.request())
    node.unpublish()
    eventually(node.nothing_left, "the end of all")
    assert names(node.token_folder) == []
    assert node.target().parent.is_dir()
    assert node.metric("oauth2_csi_node_volumes") == 0


def test_unpublish_empties_what_stays_open_or_bound(node: Node) -> None:
    node.write_token("at-1")
    node.publish(node.request())
    bind = sub_path_mount(node)
    fd = os.open(node.file(), os.O_RDONLY)
    try:
        node.unpublish()
        assert os.read(fd, 100) == b""
    finally:
        os.close(fd)
    assert bind.read_bytes() == b""


def test_unpublish_may_be_repeated(node: Node) -> None:
    node.write_token("at-1")
    node.publish(node.request())
    for _ in range(3):
        node.unpublish()


def test_unpublish_of_an_unknown_volume_is_fine(node: Node) -> None:
    node.request("v9")
    node.unpublish("v9")
    node.target("v9").mkdir()
    node.unpublish("v9")
    assert not node.target("v9").exists()


@pytest.mark.parametrize("gone", ["mount", "target", "folder of the pod"])
def test_unpublish_is_fine_with_what_is_gone_already(node: Node, gone: str) -> None:
    node.write_token("at-1")
    node.publish(node.request())
    node.mounts.unmount(node.target())
    if gone != "mount":
        node.target().rmdir()
    if gone == "folder of the pod":
        node.target().parent.rmdir()
    node.unpublish()
    eventually(node.nothing_left, "the end of all")


def test_unpublish_empties_the_file_although_it_cannot_finish(node: Node) -> None:
    node.write_token("at-1")
    node.publish(node.request())
    bind = sub_path_mount(node)
    node.mounts.unmount(node.target())
    (node.target() / "in the way").touch()
    assert refused(lambda: node.unpublish("v1"))[0] is Code.INTERNAL
    assert bind.read_bytes() == b""
    (node.target() / "in the way").unlink()
    node.unpublish()
    eventually(node.nothing_left, "the end of all")


def test_unpublish_leaves_what_is_not_ours(node: Node) -> None:
    node.request("v9")
    node.target("v9").mkdir()
    (node.target("v9") / "precious").touch()
    code, _ = refused(lambda: node.unpublish("v9"))
    assert code is Code.INTERNAL
    assert (node.target("v9") / "precious").exists()


def test_a_volume_may_be_published_again_after_its_end(node: Node) -> None:
    node.write_token("at-1")
    for _ in range(3):
        node.publish(node.request())
        assert node.content() == "at-1"
        node.unpublish()
    eventually(node.nothing_left, "the end of all")


def test_a_first_publish_waits_for_the_companion(node: Node) -> None:
    call = waiting_publish(node)
    node.write_token("at-1")
    assert outcome(call)[0] is Code.OK
    assert node.content() == "at-1"


def test_a_first_publish_waits_for_a_token_in_the_companion(node: Node) -> None:
    node.write_companion(companion(None, status=Status.PENDING))
    call = waiting_publish(node)
    node.write_token("at-1", 2)
    assert outcome(call)[0] is Code.OK


def test_a_publish_without_a_companion_says_what_to_look_at_and_leaves_nothing(
    stopped_node: Node,
) -> None:
    stopped_node.start(publish_wait=0.1)
    texts = set()
    for _ in range(2):
        code, text = stopped_node.refused(stopped_node.request())
        assert code is Code.UNAVAILABLE
        texts.add(text)
    (text,) = texts
    for named in (str(SOURCE), annotations.IS_TOKEN, "refresher"):
        assert named in text
    eventually(stopped_node.nothing_left, "the end of all")
    assert names(stopped_node.token_folder) == []


@pytest.mark.parametrize(
    "status", [Status.NEEDS_REAUTH, Status.MISCONFIGURED, Status.INVALID, Status.CLIENT_REJECTED]
)
def test_a_publish_that_only_a_user_can_help_fails_at_once(node: Node, status: Status) -> None:
    node.write_companion(companion(None, status=status, message="log in again"))
    code, text = outcome(node.publish_async(node.request()))
    assert code is Code.FAILED_PRECONDITION
    assert str(SOURCE) in text
    assert "log in again" in text
    eventually(node.nothing_left, "the end of all")


def test_a_pod_may_start_with_a_token_that_lives_although_a_user_must_log_in(node: Node) -> None:
    node.write_companion(
        companion(token("at-1"), status=Status.NEEDS_REAUTH, message="log in again")
    )
    node.publish(node.request())
    assert node.content() == "at-1"


@pytest.mark.parametrize(
    ("left", "lifetime", "wanted", "code"),
    [
        pytest.param(20, 3600, "", Code.FAILED_PRECONDITION, id="less than 30 s"),
        pytest.param(40, 3600, "", Code.OK, id="more than 30 s"),
        pytest.param(20, 40, "", Code.OK, id="more than a quarter"),
        pytest.param(5, 40, "", Code.FAILED_PRECONDITION, id="less than a quarter"),
        pytest.param(500, 3600, "1000", Code.FAILED_PRECONDITION, id="less than asked for"),
        pytest.param(20, 3600, "10", Code.OK, id="enough for the user"),
        pytest.param(-5, 3600, "0", Code.FAILED_PRECONDITION, id="expired"),
    ],
)
def test_a_pod_starts_only_with_a_token_that_lives_long_enough(
    stopped_node: Node, left: float, lifetime: float, wanted: str, code: grpc.StatusCode
) -> None:
    stopped_node.start(publish_wait=TIMEOUT if code is Code.OK else 0.1)
    stopped_node.write_token("at-1", left=left, lifetime=lifetime)
    request = stopped_node.request(attributes={"minValidity": wanted} if wanted else {})
    if code is Code.OK:
        stopped_node.publish(request)
    else:
        found, text = refusal(stopped_node, request)
        assert found is code
        assert "next refresh" in text
    assert stopped_node.file().exists() == (code is Code.OK)


def test_a_republish_fails_softly_once_the_token_has_expired(node: Node) -> None:
    node.write_token("at-1")
    node.publish(node.request())
    node.clock.ahead = 3000
    node.publish(node.request())
    node.clock.ahead = 4000
    code, text = node.refused(node.request())
    assert code is Code.UNAVAILABLE
    assert str(SOURCE) in text
    assert len(node.mounts_at()) == 1
    assert node.content() == "at-1"
    node.write_token("at-2", 2, left=9000, lifetime=9000)
    eventually(lambda: node.content() == "at-2", "rotation")
    node.publish(node.request())


def test_an_expired_token_never_replaces_another(node: Node) -> None:
    node.write_token("at-1")
    node.publish(node.request())
    looks = unchanged(node)
    node.write_token("at-2", 2, left=-1)
    eventually(lambda: unchanged(node) > looks, "a look at the file")
    assert node.content() == "at-1"


def test_the_companion_of_another_source_is_refused(stopped_node: Node) -> None:
    stopped_node.start(publish_wait=0.1)
    stopped_node.write_companion(
        companion(token("at-of-bob"), source=SourceRef("bob", SOURCE.name))
    )
    code, text = refusal(stopped_node, stopped_node.request())
    assert code is Code.FAILED_PRECONDITION
    assert "at-of-bob" not in text
    eventually(stopped_node.nothing_left, "the end of all")


@pytest.mark.parametrize("harm", ["deleted", "damaged", "another's"])
def test_a_companion_that_comes_to_harm_leaves_the_old_token_in_place(
    node: Node, harm: str
) -> None:
    node.write_token("at-1")
    node.publish(node.request())
    looks = unchanged(node)
    good = node.store.get_secret(TOKENS, SOURCE.companion)
    assert good is not None
    if harm == "deleted":
        node.store.delete_secret(good)
    elif harm == "damaged":
        node.store.patch_secret(good, SecretPatch({annotations.GENERATION: "many"}))
    else:
        node.write_companion(companion(token("at-of-bob"), 2, source=SourceRef("bob", SOURCE.name)))
    eventually(lambda: unchanged(node) > looks, "a look at the file")
    node.publish(node.request())
    assert node.content() == "at-1"
    node.write_token("at-2", 2)
    eventually(lambda: node.content() == "at-2", "rotation")


@pytest.mark.parametrize("uid", ["uid-1", "uid-2"])
def test_a_secret_that_was_deleted_and_made_again_is_followed(node: Node, uid: str) -> None:
    node.write_token("at-1", 7)
    node.publish(node.request())
    old = node.store.get_secret(TOKENS, SOURCE.companion)
    assert old is not None
    node.store.delete_secret(old)
    node.write_companion(companion(token("at-2"), 7 if uid == "uid-1" else 1, source_uid=uid))
    eventually(lambda: node.content() == "at-2", "rotation")


def test_an_inline_template_shapes_the_exact_content(node: Node) -> None:
    access = token("at-1")
    node.write_companion(companion(access))
    node.publish(
        node.request(attributes={"template": "$$x=$(ACCESS_TOKEN):$(EXPIRES_AT) $(TOKEN_TYPE)"})
    )
    assert node.content() == f"$x=at-1:{int(access.expires_at)} Bearer"


def test_a_store_that_fails_is_unavailable(stopped_node: Node) -> None:
    stopped_node.start(publish_wait=0.1)
    stopped_node.break_store()
    code, text = refusal(stopped_node, stopped_node.request())
    assert code is Code.UNAVAILABLE
    assert f"Secret {SOURCE} " in text
    assert "tries again" in text
    eventually(stopped_node.nothing_left, "the end of all")


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
    eventually(lambda: not follow_threads(), "the end of the watch")


class SlowStore(DirectoryStore):
    """A backend that takes its time for an answer, like one in a network."""

    def watch_secret(
        self, namespace: str, name: str, stop: threading.Event
    ) -> Iterator[Secret | None]:
        stop.wait(0.05)
        yield from super().watch_secret(namespace, name, stop)


def test_waiting_publishes_do_not_hold_up_others(
    stopped_node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So that no call ends by itself.
    monkeypatch.setattr("csidriver.node.publish_wait.FIRST_ANSWER", 60.0)
    stopped_node.plugin_store = SlowStore(stopped_node.store_root, poll=0.005)
    stopped_node.start(publish_wait=60.0)
    calls = [
        stopped_node.publish_async(
            stopped_node.request(f"w{number}", {"secretName": f"none-{number}"})
        )
        for number in range(14)
    ]
    eventually(lambda: sum(call.done() for call in calls) == 6, "that half of the threads wait")
    assert {outcome(call)[0] for call in calls if call.done()} == {Code.UNAVAILABLE}
    stopped_node.write_token("at-1")
    assert outcome(stopped_node.publish_async(stopped_node.request()))[0] is Code.OK
    stopped_node.unpublish()
    assert sum(call.done() for call in calls) == 6
    stopped_node.stop()
    assert {outcome(call)[0] for call in calls} == {Code.UNAVAILABLE}


def test_publishes_of_many_volumes_run_side_by_side(node: Node) -> None:
    node.write_token("at-1")
    calls = [node.publish_async(node.request(f"v{number}")) for number in range(30)]
    assert {outcome(call)[0] for call in calls} == {Code.OK}
    assert len(follow_threads()) == 1
    node.write_token("at-2", 2)
    eventually(lambda: {node.content(f"v{number}") for number in range(30)} == {"at-2"}, "rotation")


@pytest.mark.parametrize(("ahead", "where"), [(3600.0, "ahead of"), (-3600.0, "behind")])
def test_a_node_whose_clock_is_wrong_is_told_by_how_much(
    published: Node, ahead: float, where: str
) -> None:
    published.clock.ahead = ahead
    published.write_token("at-2", 2, left=1800.0)
    eventually(
        lambda: abs(published.metric("oauth2_csi_node_clock_ahead_seconds") - ahead) < TIMEOUT,
        "the metric",
    )
    code, text = published.refused(published.request("v2", {"minValidity": "7200"}))
    assert code is Code.FAILED_PRECONDITION
    seconds, _, rest = text.partition("the clock of this node is ")[2].partition(" s ")
    assert abs(int(seconds) - 3600) < TIMEOUT
    assert rest == f"{where} the refresher's"


def with_secret(number: int) -> dict[str, str]:
    return {"secretName": f"token-{number}"}


class TestLimits:
    @pytest.fixture
    def full(self, stopped_node: Node) -> Node:
        """A node with two volumes, as many as a pod and as many Secrets as it may have."""
        stopped_node.start(limits=NodeLimits(2, 9, 9, 9, 2))
        for number in range(3):
            ref = SourceRef(SOURCE.namespace, f"token-{number}")
            stopped_node.write_companion(companion(token(f"at-{number}"), source=ref), ref)
        for number in range(2):
            stopped_node.publish(stopped_node.request(f"v{number}", with_secret(number)))
        return stopped_node

    def test_one_more_volume_is_refused_and_leaves_nothing(self, full: Node) -> None:
        code, text = full.refused(full.request("v2", with_secret(2)))
        assert code is Code.RESOURCE_EXHAUSTED
        assert "--volumes-per-pod" in text
        assert not full.folder("v2").exists()
        assert len(follow_threads()) == 2
        full.publish(full.request("v1", with_secret(1)))
        full.unpublish("v1")
        full.publish(full.request("v2", with_secret(2)))
        assert full.content("v2") == "at-2"

    def test_a_restart_takes_over_more_than_there_may_be(self, full: Node) -> None:
        full.stop()
        full.start(limits=NodeLimits(1, 1, 1, 1, 1))
        for number in range(2):
            ref = SourceRef(SOURCE.namespace, f"token-{number}")
            full.write_companion(companion(token(f"new-{number}"), 2, source=ref), ref)
            eventually(lambda n=number: full.content(f"v{n}") == f"new-{n}")  # type: ignore[misc]
            full.publish(full.request(f"v{number}", with_secret(number)))
        assert full.refused(full.request("v2"))[0] is Code.RESOURCE_EXHAUSTED


def test_equal_templates_are_in_memory_once_also_after_a_restart(node: Node) -> None:
    node.write_token("at-1")
    give_template(node, "x$(ACCESS_TOKEN)")
    inline = {"template": "x$(ACCESS_TOKEN)"}
    for number, attributes in enumerate([inline, inline, {"templateConfigMapName": "shape"}]):
        node.publish(node.request(f"v{number}", attributes))
    for _ in range(2):
        volumes = [node.plugin._volumes.get(f"csi-v{number}") for number in range(3)]
        assert len({id(v.record.attributes.template) for v in volumes if v is not None}) == 1
        assert None not in volumes
        node.stop()
        node.start()
