from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from csidriver._proto import csi_pb2
from csidriver.core import names as core_names
from tests.node.plugin import Node, follow_threads, refused

pytestmark = pytest.mark.mounts

Mutation = Callable[[Any, Path], object]
SECRET = "a-secret-that-kubelet-sent"
VOLUMES = "uid-1/volumes/kubernetes.io~csi"
MULTI = csi_pb2.VolumeCapability.AccessMode.MULTI_NODE_READER_ONLY
UNKNOWN = csi_pb2.VolumeCapability.AccessMode.UNKNOWN


def attribute(key: str, value: str | None) -> Mutation:
    def mutate(request: Any, _pods: Path) -> None:
        if value is None:
            del request.volume_context[key]
        else:
            request.volume_context[key] = value

    return mutate


def field(name: str, value: str) -> Mutation:
    return lambda request, _pods: setattr(request, name, value)


def target(make: Callable[[Path], str]) -> Mutation:
    return lambda request, pods: setattr(request, "target_path", make(pods))


def mount(**values: Any) -> Mutation:
    return lambda request, _pods: request.volume_capability.mount.MergeFrom(
        csi_pb2.VolumeCapability.MountVolume(**values)
    )


PLACES: dict[str, tuple[Mutation, str]] = {
    "no volume id": (field("volume_id", ""), "volume_id"),
    "long volume id": (field("volume_id", "x" * 257), "volume_id"),
    "control character in the volume id": (field("volume_id", "csi-\n"), "volume_id"),
    "no target": (field("target_path", ""), "target_path"),
    "target outside": (target(lambda _: "/etc/mount"), "target_path"),
    "target beside": (target(lambda pods: f"{pods}-2/mount"), "target_path"),
    "target is the folder of pods": (target(str), "target_path"),
    "target climbs out": (target(lambda pods: f"{pods}/../x"), "target_path"),
    "target climbs and returns": (target(lambda pods: f"{pods}/a/../b"), "target_path"),
    "relative target": (target(lambda pods: str(pods)[1:]), "target_path"),
    "target with a double slash": (target(lambda pods: f"{pods}//uid-1/mount"), "target_path"),
    "target with a trailing slash": (target(lambda pods: f"{pods}/uid-1/"), "target_path"),
    "target with a NUL": (target(lambda pods: f"{pods}/a\0b"), "target_path"),
    "endless target": (target(lambda pods: f"{pods}/" + "a/" * 3000 + "b"), "target_path"),
    "target through a symlink": (target(lambda pods: f"{pods}/link/mount"), "target_path"),
    "target is a symlink": (target(lambda pods: f"{pods}/link"), "target_path"),
    "target is the folder of a pod": (target(lambda pods: f"{pods}/uid-1"), "target_path"),
    "target is the folder of a volume": (
        target(lambda pods: f"{pods}/{VOLUMES}/v1"),
        "target_path",
    ),
    "target inside a volume": (target(lambda pods: f"{pods}/{VOLUMES}/v1/mount/x"), "target_path"),
    "target of another plugin": (
        target(lambda pods: f"{pods}/uid-1/volumes/kubernetes.io~nfs/v1/mount"),
        "target_path",
    ),
    "target of no pod": (
        target(lambda pods: f"{pods}/volumes/kubernetes.io~csi/v1/mount"),
        "target_path",
    ),
    "target of a volume that cannot be": (
        target(lambda pods: f"{pods}/{VOLUMES}/{'v' * 64}/mount"),
        "target_path",
    ),
    "target with a line feed": (target(lambda pods: f"{pods}/{VOLUMES}/v\n1/mount"), "\\n"),
    "target that is shown backwards": (
        target(lambda pods: f"{pods}/{VOLUMES}/v\u202e1/mount"),
        "\\u202e",
    ),
    "pod that is shown backwards": (
        target(lambda pods: f"{pods}/\u202e/volumes/kubernetes.io~csi/v1/mount"),
        "\\u202e",
    ),
}

REQUESTS: dict[str, tuple[Mutation, str]] = {
    **PLACES,
    "no capability": (lambda r, _: r.ClearField("volume_capability"), "volume_capability"),
    "neither block nor mount": (lambda r, _: r.volume_capability.ClearField("mount"), "mount"),
    "block": (lambda r, _: r.volume_capability.block.SetInParent(), "block"),
    "fsType": (mount(fs_type="ext4"), "fsType"),
    "mount flags": (mount(mount_flags=["exec"]), "mount_flags"),
    "many nodes": (
        lambda r, _: setattr(r.volume_capability.access_mode, "mode", MULTI),
        "access_mode",
    ),
    "unknown access mode": (
        lambda r, _: setattr(r.volume_capability.access_mode, "mode", UNKNOWN),
        "access_mode",
    ),
    "writable": (lambda r, _: setattr(r, "readonly", False), "readOnly"),
    "secrets": (lambda r, _: r.secrets.update({"oauth": SECRET}), "nodePublishSecretRef"),
    "no word on ephemeral": (attribute(core_names.EPHEMERAL, None), "ephemeral"),
    "not ephemeral": (attribute(core_names.EPHEMERAL, "false"), "ephemeral"),
    "no pod name": (attribute(core_names.POD_NAME, None), core_names.POD_NAME),
    "no pod uid": (attribute(core_names.POD_UID, None), core_names.POD_UID),
    "no pod namespace": (attribute(core_names.POD_NAMESPACE, None), core_names.POD_NAMESPACE),
    "empty pod namespace": (attribute(core_names.POD_NAMESPACE, ""), core_names.POD_NAMESPACE),
    "namespace that climbs": (attribute(core_names.POD_NAMESPACE, "alice/../bob"), "namespace"),
    "two lines of a pod name": (attribute(core_names.POD_NAME, "pod-1\nerror: forged"), "pod.name"),
    "pod uid of another pod": (attribute(core_names.POD_UID, "uid-2"), "uid-2"),
    "target of another pod": (
        target(lambda pods: f"{pods}/uid-2/volumes/kubernetes.io~csi/v1/mount"),
        "uid-1",
    ),
    "target that kubelet has not prepared": (
        target(lambda pods: f"{pods}/{VOLUMES}/v7/mount"),
        "kubelet must create it first",
    ),
    "no secretName": (attribute("secretName", None), "secretName"),
    "secretName with a slash": (attribute("secretName", "bob/token"), "secretName"),
    "empty secretName": (attribute("secretName", ""), "secretName"),
    "no owner": (attribute("owner", None), "owner"),
    "owner by name": (attribute("owner", "root"), "owner"),
    "negative owner": (attribute("owner", "-1"), "owner"),
    "owner that chown ignores": (attribute("owner", str(2**32 - 1)), "owner"),
    "group by name": (attribute("group", "users"), "group"),
    "fsGroup by name": (mount(volume_mount_group="users"), "fsGroup"),
    "writable mode": (attribute("mode", "0600"), "mode"),
    "mode for others": (attribute("mode", "0404"), "mode"),
    "mode for nobody": (attribute("mode", "0000"), "mode"),
    "decimal mode": (attribute("mode", "288"), "mode"),
    "setuid mode": (attribute("mode", "4400"), "mode"),
    "empty file name": (attribute("fileName", ""), "fileName"),
    "file name with a slash": (attribute("fileName", "a/b"), "fileName"),
    "file name that climbs": (attribute("fileName", "../token"), "fileName"),
    "file name ..": (attribute("fileName", ".."), "fileName"),
    "file name .": (attribute("fileName", "."), "fileName"),
    "file name of our draft": (attribute("fileName", "..draft"), "fileName"),
    "file name with a newline": (attribute("fileName", "token\n"), "fileName"),
    "long file name": (attribute("fileName", "x" * 256), "fileName"),
    "template with an unknown name": (attribute("template", "$(REFRESH_TOKEN)"), "template"),
    "template without an end": (attribute("template", "$(ACCESS_TOKEN"), "template"),
    "huge template": (attribute("template", "x" * 65537), "template"),
    "template ConfigMap elsewhere": (
        attribute("templateConfigMapName", "../x"),
        "templateConfigMapName",
    ),
    "two templates": (
        lambda r, _: r.volume_context.update({"template": "x", "templateConfigMapName": "y"}),
        "templateConfigMapName",
    ),
    "negative minValidity": (attribute("minValidity", "-1"), "minValidity"),
    "minValidity with a unit": (attribute("minValidity", "30s"), "minValidity"),
    "misspelt key": (attribute("secretname", "x"), "did you mean secretName"),
    "unknown key": (attribute("refreshToken", "x"), "refreshToken"),
}


def rows(table: dict[str, tuple[Mutation, str]]) -> list[Any]:
    return [pytest.param(*row, id=name) for name, row in table.items()]


def tree(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*"))


@pytest.mark.parametrize(("mutate", "named"), rows(REQUESTS))
def test_a_bad_publish_is_refused_by_name_and_changes_nothing(
    shared_node: Node, mutate: Mutation, named: str
) -> None:
    pods = shared_node.kubelet_dir / "pods"
    request = shared_node.request()
    link_to(pods, shared_node.root)
    mutate(request, pods)
    before = tree(shared_node.kubelet_dir)
    code, text = shared_node.refused(request)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert named in text
    assert SECRET not in text
    assert tree(shared_node.kubelet_dir) == before
    assert not follow_threads()


def link_to(pods: Path, elsewhere: Path) -> None:
    link = pods / "link"
    if not link.is_symlink():
        link.symlink_to(elsewhere)


def test_the_request_that_the_table_starts_from_is_fine(node: Node) -> None:
    node.write_token("at-1")
    node.publish(node.request())
    assert node.content() == "at-1"


@pytest.mark.parametrize(("mutate", "named"), rows(PLACES))
def test_a_bad_unpublish_is_refused_by_name_and_changes_nothing(
    shared_node: Node, mutate: Mutation, named: str
) -> None:
    pods = shared_node.kubelet_dir / "pods"
    link_to(pods, shared_node.root)
    request = csi_pb2.NodeUnpublishVolumeRequest(
        volume_id="csi-v1", target_path=str(shared_node.target())
    )
    mutate(request, pods)
    before = tree(shared_node.root)
    code, text = refused(lambda: shared_node.call("NodeUnpublishVolume", request))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert named in text
    assert tree(shared_node.root) == before


def test_all_problems_of_a_request_are_named_at_once(shared_node: Node) -> None:
    request = shared_node.request(attributes={"mode": "0666", "owner": "me", "secretName": "X"})
    request.readonly = False
    request.target_path = "/etc"
    request.secrets["oauth"] = SECRET
    del request.volume_context[core_names.EPHEMERAL]
    code, text = shared_node.refused(request)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    for named in ("mode", "owner", "secretName", "readOnly", "/etc", "nodePublish", "ephemeral"):
        assert named in text
    assert SECRET not in text


def test_the_node_is_named_and_has_no_topology_and_no_limit(shared_node: Node) -> None:
    reply = shared_node.call("NodeGetInfo", csi_pb2.NodeGetInfoRequest())
    assert reply == csi_pb2.NodeGetInfoResponse(node_id="node-1")


def test_the_one_node_capability_is_volume_mount_group(shared_node: Node) -> None:
    reply = shared_node.call("NodeGetCapabilities", csi_pb2.NodeGetCapabilitiesRequest())
    assert [c.rpc.type for c in reply.capabilities] == [
        csi_pb2.NodeServiceCapability.RPC.VOLUME_MOUNT_GROUP
    ]
