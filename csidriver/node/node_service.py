"""The CSI Node service: checks protobuf requests and passes their values to the volumes."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

import grpc

from csidriver._proto import csi_pb2, csi_pb2_grpc
from csidriver.core import names
from csidriver.core.kubernetes.validation import is_dns1123_label, is_dns1123_subdomain
from csidriver.core.quoting import quote_untrusted
from csidriver.core.volume.attributes import VolumeAttributes
from csidriver.errors import InvalidRequest
from csidriver.node.volume_manager import VolumeManager
from csidriver.node.volume_record import VolumeRecord

# CSI spec, "Size Limits": 128 bytes for a string; some orchestrators send more.
_MAX_ID = 256
_MAX_PATH = 4096
# Below kubelet's folder of pods: `<uid>/volumes/kubernetes.io~csi/<volume name>/mount`. Another
# path could be a folder that the pod uses, or inside another volume.
_TARGET = re.compile(r"([!-.0-~]{1,128})/volumes/kubernetes\.io~csi/([^/]+)/mount")
_ACCESS_MODES = (
    csi_pb2.VolumeCapability.AccessMode.SINGLE_NODE_WRITER,
    csi_pb2.VolumeCapability.AccessMode.SINGLE_NODE_READER_ONLY,
    csi_pb2.VolumeCapability.AccessMode.SINGLE_NODE_SINGLE_WRITER,
    csi_pb2.VolumeCapability.AccessMode.SINGLE_NODE_MULTI_WRITER,
)


class NodeService(csi_pb2_grpc.NodeServicer):
    """`pods` is kubelet's folder of pods; targets outside it are refused."""

    def __init__(self, volumes: VolumeManager, *, node_id: str, pods: Path) -> None:
        self._volumes = volumes
        self._node_id = node_id
        self._pods = pods

    def NodeGetInfo(  # noqa: N802 - the RPC's name
        self, _request: csi_pb2.NodeGetInfoRequest, _context: grpc.ServicerContext
    ) -> csi_pb2.NodeGetInfoResponse:
        """Return the node's name, without topology and limit of volumes."""
        return csi_pb2.NodeGetInfoResponse(node_id=self._node_id)

    def NodeGetCapabilities(  # noqa: N802 - the RPC's name
        self, _request: csi_pb2.NodeGetCapabilitiesRequest, _context: grpc.ServicerContext
    ) -> csi_pb2.NodeGetCapabilitiesResponse:
        # With VOLUME_MOUNT_GROUP kubelet passes fsGroup on, instead of changing the files.
        group = csi_pb2.NodeServiceCapability.RPC(
            type=csi_pb2.NodeServiceCapability.RPC.VOLUME_MOUNT_GROUP
        )
        return csi_pb2.NodeGetCapabilitiesResponse(
            capabilities=[csi_pb2.NodeServiceCapability(rpc=group)]
        )

    def NodePublishVolume(  # noqa: N802 - the RPC's name
        self, request: csi_pb2.NodePublishVolumeRequest, _context: grpc.ServicerContext
    ) -> csi_pb2.NodePublishVolumeResponse:
        self._volumes.publish(volume_record(request, self._pods))
        return csi_pb2.NodePublishVolumeResponse()

    def NodeUnpublishVolume(  # noqa: N802 - the RPC's name
        self, request: csi_pb2.NodeUnpublishVolumeRequest, _context: grpc.ServicerContext
    ) -> csi_pb2.NodeUnpublishVolumeResponse:
        problems = _path_problems(request.volume_id, request.target_path, self._pods)
        if problems:
            raise InvalidRequest("NodeUnpublishVolume", problems)
        self._volumes.unpublish(request.volume_id, Path(request.target_path))
        return csi_pb2.NodeUnpublishVolumeResponse()


def volume_record(request: csi_pb2.NodePublishVolumeRequest, pods: Path) -> VolumeRecord:
    """Return the content of a valid publish request; raise InvalidRequest with all problems."""
    context = request.volume_context
    problems = _path_problems(request.volume_id, request.target_path, pods)
    if not problems:
        problems = _pod_folder_problems(request.target_path, context.get(names.POD_UID), pods)
    problems += _capability_problems(request)
    problems += _pod_problems(context)
    attributes = None
    try:
        attributes = VolumeAttributes.parse(
            context, request.volume_capability.mount.volume_mount_group
        )
    except InvalidRequest as error:
        problems.extend(error.problems)
    if problems or attributes is None:
        raise InvalidRequest("NodePublishVolume", problems)
    return VolumeRecord(
        volume_id=request.volume_id,
        target_path=request.target_path,
        namespace=context[names.POD_NAMESPACE],
        pod_name=context[names.POD_NAME],
        pod_uid=context[names.POD_UID],
        attributes=attributes,
    )


def _capability_problems(request: csi_pb2.NodePublishVolumeRequest) -> list[str]:
    problems = []
    capability = request.volume_capability
    if not request.HasField("volume_capability"):
        problems.append("volume_capability is missing")
    elif not capability.HasField("mount"):
        problems.append("volume_capability must be mount: a token is a file, not a block device")
    else:
        if capability.mount.fs_type:
            problems.append("fsType must not be set")
        if capability.mount.mount_flags:
            problems.append("mount_flags must be empty")
        if capability.access_mode.mode not in _ACCESS_MODES:
            problems.append("volume_capability.access_mode must be a mode for a single node")
    if not request.readonly:
        problems.append("readOnly: true is required in the pod's csi volume")
    if request.secrets:
        problems.append(
            "nodePublishSecretRef is refused: it would carry refresh tokens to the node; "
            "name the Secret in volumeAttributes.secretName instead"
        )
    return problems


def _pod_problems(context: Mapping[str, str]) -> list[str]:
    # Without podInfoOnMount a user could set the keys of kubelet.
    problems = []
    if context.get(names.EPHEMERAL) != "true":
        problems.append("only ephemeral inline volumes are supported; define the volume in the pod")
    problems += [
        f"volume_context does not have {key}; the CSIDriver object needs podInfoOnMount: true"
        for key in (names.POD_NAMESPACE, names.POD_NAME, names.POD_UID)
        if not context.get(key)
    ]
    for key, is_name in (
        (names.POD_NAMESPACE, is_dns1123_label),
        (names.POD_NAME, is_dns1123_subdomain),
    ):
        if context.get(key) and not is_name(context[key]):
            problems.append(
                f"{key} must be a valid object name, not {quote_untrusted(context[key])}"
            )
    return problems


def _path_problems(volume_id: str, target_path: str, pods: Path) -> list[str]:
    # A hostile path must not reach a system call that changes something.
    problems = []
    if not volume_id or len(volume_id) > _MAX_ID or not volume_id.isprintable():
        problems.append("volume_id must have 1 to 256 printable characters")
    if not target_path:
        problems.append("target_path is missing")
    elif not _inside(target_path, pods):
        problems.append(f"target_path {quote_untrusted(target_path)} is not inside {pods}")
    elif not (match := _TARGET.fullmatch(_below(target_path, pods))) or not is_dns1123_label(
        match[2]
    ):
        problems.append(
            f"target_path {quote_untrusted(target_path)} is not where kubelet mounts a volume"
        )
    return problems


def _pod_folder_problems(target_path: str, pod_uid: str | None, pods: Path) -> list[str]:
    problems = []
    if pod_uid and _below(target_path, pods).partition("/")[0] != pod_uid:
        problems.append(f"target_path is not in the folder of the pod {quote_untrusted(pod_uid)}")
    if not Path(target_path).parent.is_dir():
        problems.append("the folder of target_path does not exist; kubelet must create it first")
    return problems


def _below(target_path: str, pods: Path) -> str:
    return target_path.removeprefix(f"{pods}/")


def _inside(target_path: str, pods: Path) -> bool:
    """Return True if a path is normalised, below the folder of pods and without symlinks."""
    if "\0" in target_path or len(target_path) > _MAX_PATH:
        return False
    if os.path.normpath(target_path) != target_path or not target_path.startswith(f"{pods}/"):
        return False
    # Only the path to kubelet's own folder may contain symlinks.
    path, folder = target_path, str(pods)
    while path != folder:
        if os.path.islink(path):  # noqa: PTH114 - as text, a path is checked in a tenth of the time
            return False
        path = path.rpartition("/")[0]
    return True
