"""Kubelet's calls, timed by the caller."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc

from csidriver._proto import csi_pb2, csi_pb2_grpc
from csidriver.core import names
from csidriver.core.names import SourceRef

TIMEOUT = 30.0
# gRPC would hand a new channel the connection of an old one.
_OPTIONS = [("grpc.use_local_subchannel_pool", 1)]


class Caller:
    """Calls one plugin over a connection that stays open, or over a new one as kubelet does.

    `uids` are those of pods that exist, by the numbers of their volumes; others are made up.
    """

    def __init__(self, pods: Path, socket: Path, uids: Mapping[int, str] | None = None) -> None:
        self._pods = pods
        self._uids = {} if uids is None else uids
        self._address = f"unix:{socket}"
        self._channel = grpc.insecure_channel(self._address, options=_OPTIONS)
        grpc.channel_ready_future(self._channel).result(timeout=TIMEOUT)

    def close(self) -> None:
        """Let go of the connection."""
        self._channel.close()

    def call(self, method: str, request: Any) -> float:
        """Milliseconds of one call; raises grpc.RpcError."""
        return _timed(self._channel, method, request)

    def call_anew(self, method: str, request: Any) -> float:
        """Make the call over a new connection; the time includes connecting."""
        with grpc.insecure_channel(self._address, options=_OPTIONS) as channel:
            return _timed(channel, method, request)

    def target(self, number: int) -> Path:
        """Where kubelet wants a volume: each is that of a pod of its own."""
        return self._pods / self._uid(number) / "volumes/kubernetes.io~csi/token/mount"

    def publish_request(self, number: int, ref: SourceRef | None) -> Any:
        """Return the request that kubelet sends, and make the folder that kubelet makes before.

        Without a source it is a volume of a driver that knows nothing of tokens.
        """
        own = {"secretName": ref.name, "owner": "0"} if ref else {}
        target = self.target(number)
        target.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        mode = csi_pb2.VolumeCapability.AccessMode.SINGLE_NODE_WRITER
        return csi_pb2.NodePublishVolumeRequest(
            volume_id=f"csi-{number:064x}",
            target_path=str(target),
            volume_capability=csi_pb2.VolumeCapability(
                mount=csi_pb2.VolumeCapability.MountVolume(),
                access_mode=csi_pb2.VolumeCapability.AccessMode(mode=mode),
            ),
            readonly=True,
            volume_context={
                **own,
                names.POD_NAME: pod_name(number),
                names.POD_NAMESPACE: ref.namespace if ref else "physics",
                names.POD_UID: self._uid(number),
                "csi.storage.k8s.io/serviceAccount.name": "default",
                names.EPHEMERAL: "true",
            },
        )

    def unpublish_request(self, number: int) -> Any:
        """Return the request that kubelet sends after the pod has ended."""
        return csi_pb2.NodeUnpublishVolumeRequest(
            volume_id=f"csi-{number:064x}", target_path=str(self.target(number))
        )

    def _uid(self, number: int) -> str:
        return self._uids.get(number, f"{number:08x}-0000-4000-8000-000000000000")


def pod_name(number: int) -> str:
    return f"pod-{number}"


def _timed(channel: grpc.Channel, method: str, request: Any) -> float:
    call = getattr(csi_pb2_grpc.NodeStub(channel), method)
    began = time.perf_counter()
    call(request, timeout=TIMEOUT)
    return 1000 * (time.perf_counter() - began)
