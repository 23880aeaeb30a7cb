"""What hostile pod authors or callers send costs them a refusal and others nothing."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from csidriver._proto import csi_pb2
from csidriver.core import names as core_names
from csidriver.core.names import SourceRef
from csidriver.core.status import Status
from csidriver.core.volume.attributes import KEYS
from tests.node.plugin import NAMESPACE, Node, companion, follow_threads, names, refused, token
from tests.waiting import until

pytestmark = pytest.mark.mounts

Code = grpc.StatusCode
Mutation = Callable[[Any], object]
SECRET = "planted-refresh-token"
MEBIBYTE = 1 << 20
BIDI = "\u202egnp.exe"
MODES = csi_pb2.VolumeCapability.AccessMode


def context(key: str, value: str | None) -> Mutation:
    if value is None:
        return lambda request: request.volume_context.pop(key)
    return lambda request: request.volume_context.update({key: value})


def field(name: str, value: object) -> Mutation:
    return lambda request: setattr(request, name, value)


def target(text: str) -> Mutation:
    """`<pods>` is kubelet's folder, `<volumes>` that of the pod's volumes."""

    def mutate(request: Any) -> None:
        volumes = request.target_path.removesuffix("/v1/mount")
        pods = volumes.removesuffix("/uid-1/volumes/kubernetes.io~csi")
        request.target_path = text.replace("<volumes>", volumes).replace("<pods>", pods)

    return mutate


def mount(**values: Any) -> Mutation:
    return lambda request: request.volume_capability.mount.MergeFrom(
        csi_pb2.VolumeCapability.MountVolume(**values)
    )


PLACES: dict[str, tuple[Mutation, str]] = {
    "no volume id": (field("volume_id", ""), "volume_id"),
    "volume id of 1 MiB": (field("volume_id", "v" * MEBIBYTE), "volume_id"),
    "target beside": (target("<pods>-2/mount"), "target_path"),
    "target climbs and returns": (target("<volumes>/../kubernetes.io~csi/v1/mount"), "target_path"),
    "target with a NUL": (target("<volumes>/v1\0/mount"), "target_path"),
    "target through a symlink": (target("<volumes>/linked/mount"), "target_path"),
    "target is a symlink": (target("<volumes>/swapped/mount"), "target_path"),
    "target inside a volume": (target("<volumes>/v1/mount/mount"), "target_path"),
    "target that is shown backwards": (target(f"<volumes>/{BIDI}/mount"), "\\u202e"),
}

REQUESTS: dict[str, tuple[Mutation, str]] = {
    **PLACES,
    "no capability": (lambda r: r.ClearField("volume_capability"), "volume_capability"),
    "block": (lambda r: r.volume_capability.block.SetInParent(), "block"),
    "mount flags": (mount(mount_flags=["exec"]), "mount_flags"),
    "many nodes": (
        lambda r: setattr(r.volume_capability.access_mode, "mode", MODES.MULTI_NODE_READER_ONLY),
        "access_mode",
    ),
    "writable": (field("readonly", False), "readOnly"),
    "secrets": (lambda r: r.secrets.update({SECRET: SECRET}), "nodePublishSecretRef"),
    "not ephemeral": (context(core_names.EPHEMERAL, "True"), "ephemeral"),
    "pod name that forges a line": (context(core_names.POD_NAME, "pod-1\nerror: x"), "pod.name"),
    "pod uid of another pod": (context(core_names.POD_UID, "uid-2"), "uid-2"),
    "target that kubelet has not prepared": (target("<volumes>/v7/mount"), "must create it first"),
}


def rows(table: dict[str, tuple[Mutation, str]]) -> list[Any]:
    return [pytest.param(*row, id=name) for name, row in table.items()]


def traces(node: Node) -> list[str]:
    (node.root / "outside").mkdir(exist_ok=True)
    for link in (node.target("linked").parent, node.target("swapped")):
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(node.root / "outside")
    node.request()
    paths = (str(path) for path in node.root.rglob("*"))
    return [*sorted(paths), *(mount.target for mount in node.mounts.table())]


def assert_tame(code: grpc.StatusCode, text: str, wanted: grpc.StatusCode) -> None:
    assert code is wanted
    assert text.isprintable()
    assert len(text.encode()) < 4096
    assert SECRET not in text


@pytest.mark.parametrize(("mutate", "named"), rows(REQUESTS))
def test_a_bad_publish_is_refused_by_name_and_changes_nothing(
    shared_node: Node, caplog: pytest.LogCaptureFixture, mutate: Mutation, named: str
) -> None:
    before, request = traces(shared_node), shared_node.request()
    mutate(request)
    answers = [shared_node.refused(request)]
    if (mutate, named) in PLACES.values():
        end = csi_pb2.NodeUnpublishVolumeRequest(
            volume_id="csi-v1", target_path=str(shared_node.target())
        )
        mutate(end)
        answers.append(refused(lambda: shared_node.call("NodeUnpublishVolume", end)))
    for code, text in answers:
        assert_tame(code, text, Code.INVALID_ARGUMENT)
        assert named in text
    assert traces(shared_node) == before
    assert not follow_threads()
    assert all(line.isprintable() and SECRET not in line for line in caplog.messages)
    assert [record for record in caplog.records if record.exc_info] == []


def test_a_hostile_request_for_a_mounted_volume_delays_no_neighbour(published: Node) -> None:
    late = SourceRef(NAMESPACE, "late")
    call = published.publish_async(published.request("neighbour", {"secretName": late.name}))
    traces(published)
    for mutate, _ in REQUESTS.values():
        request = published.request()
        mutate(request)
        assert published.refused(request)[0] is Code.INVALID_ARGUMENT
    for path in (published.socket, published.registration):
        for junk in (b"\0" * 70_000, b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n"):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
                client.sendall(junk)
    assert not call.done()
    published.write_companion(companion(token("at-late"), source=late), late)
    assert call.exception(timeout=5) is None
    assert (published.content("neighbour"), published.content()) == ("at-late", "at-1")
    assert len(published.mounts_at()) == 1


def test_all_problems_of_a_request_are_named_at_once(shared_node: Node) -> None:
    request = shared_node.request(attributes={"mode": "0666", "owner": "me", "secretName": "X"})
    request.readonly = False
    request.target_path = "/etc"
    request.secrets["oauth"] = SECRET
    del request.volume_context[core_names.EPHEMERAL]
    code, text = shared_node.refused(request)
    assert_tame(code, text, Code.INVALID_ARGUMENT)
    for named in ("mode", "owner", "secretName", "readOnly", "/etc", "nodePublish", "ephemeral"):
        assert named in text


def test_a_request_above_4_mib_is_refused_with_its_size(shared_node: Node) -> None:
    request = shared_node.request(attributes={"template": "x" * (5 * MEBIBYTE)})
    code, text = shared_node.refused(request)
    assert_tame(code, text, Code.RESOURCE_EXHAUSTED)
    assert "4194304" in text


def test_keys_that_only_look_like_those_of_kubelet_change_nothing(node: Node) -> None:
    tokens = f"{core_names.KUBELET_PREFIX}serviceAccount.tokens"
    lookalikes = {"secretName": "other", "mode": "0777", "fileName": "../x", "\n": "\0"}
    forged = {f"{core_names.KUBELET_PREFIX}{key}": value for key, value in lookalikes.items()}
    forged[tokens] = f'{{"": {{"token": "{SECRET}"}}}}'
    node.write_token("at-1")
    node.publish(node.request(attributes=forged))
    record = (node.folder() / "volume.json").read_text(encoding="utf-8")
    # Kubelet's token of the service account differs in each call.
    forged[tokens] = "another"
    node.publish(node.request(attributes=forged))
    assert names(node.target()) == ["token"]
    assert node.file().stat().st_mode & 0o777 == 0o400
    assert (node.folder() / "volume.json").read_text(encoding="utf-8") == record
    assert SECRET not in record


def test_a_hostile_reason_of_the_authorization_server_is_told_tamely(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    message = f"\x1b[2J\nall is well{BIDI}" + "\U000e0001%" * 50_000
    node.write_companion(companion(None, status=Status.NEEDS_REAUTH, message=message))
    code, text = node.refused(node.request())
    assert_tame(code, text, Code.FAILED_PRECONDITION)
    assert all(line.isprintable() for line in caplog.messages)


BUGS = (Code.INTERNAL, Code.UNKNOWN, Code.DEADLINE_EXCEEDED, Code.CANCELLED)
ROOTS = ["<pods>", "<volumes>", "<volumes>/linked/mount", "<volumes>/v1", "<volumes>/v1/mount"]
NASTY = ["", "..", "//", "../../outside", "\0", "\n", "\x1b[31m", "\u202e", "-1", "$("]
TEXTS = st.text(max_size=60) | st.builds(
    lambda text, size: text * size, st.sampled_from(NASTY), st.sampled_from([1, 65, 5000, 70_000])
)
PATHS = st.builds(lambda root, text: f"{root}/{text}", st.sampled_from(ROOTS), TEXTS) | TEXTS
KUBELET_KEYS = [core_names.POD_NAME, core_names.POD_NAMESPACE, core_names.POD_UID]
KEY = st.sampled_from([*KEYS, *KUBELET_KEYS]) | TEXTS.map(core_names.KUBELET_PREFIX.__add__) | TEXTS
CHANGES = st.one_of(
    st.builds(field, st.just("volume_id"), TEXTS),
    st.builds(target, PATHS),
    st.builds(context, KEY, TEXTS),
    st.builds(lambda group: mount(volume_mount_group=group), TEXTS),
)


@settings(max_examples=200, database=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(st.lists(CHANGES, max_size=4))
def test_any_request_is_answered_as_what_it_is(shared_node: Node, changes: list[Mutation]) -> None:
    before, request = traces(shared_node), shared_node.request()
    for change in changes:
        change(request)
    ids = request.volume_capability.mount.volume_mount_group, *request.volume_context.values()
    # Not every machine could give files to any owner.
    assume(not any(text.isdecimal() and int(text) for text in ids if len(text) < 11))
    error = shared_node.publish_async(request).exception()
    if error is None:
        assert len(shared_node.mounts_at(Path(request.target_path))) == 1
        end = csi_pb2.NodeUnpublishVolumeRequest(
            volume_id=request.volume_id, target_path=request.target_path
        )
        shared_node.call("NodeUnpublishVolume", end)
    else:
        assert error.code() not in BUGS
        assert_tame(error.code(), error.details(), error.code())
    until(lambda: not follow_threads(), "the end of all watches")
    assert traces(shared_node) == before


def test_node_and_capabilities(shared_node: Node) -> None:
    reply = shared_node.call("NodeGetInfo", csi_pb2.NodeGetInfoRequest())
    assert reply == csi_pb2.NodeGetInfoResponse(node_id="node-1")
    reply = shared_node.call("NodeGetCapabilities", csi_pb2.NodeGetCapabilitiesRequest())
    assert [c.rpc.type for c in reply.capabilities] == [
        csi_pb2.NodeServiceCapability.RPC.VOLUME_MOUNT_GROUP
    ]
