"""A stand-in for kubelet: calls the plugin as kubelet does, and mounts volumes in containers.

Fields, order of calls and connections are those of kubelet 1.36, as observed; republishes come more
often.
"""

import hashlib
import os
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from csidriver._proto import csi_pb2, csi_pb2_grpc
from csidriver._proto import pluginregistration_pb2 as registration_pb2
from csidriver._proto import pluginregistration_pb2_grpc as registration_pb2_grpc
from csidriver.adapters.mounts import Mounts
from csidriver.core import names as core_names
from csidriver.errors import DriverError

# Kubelet's deadline, in seconds.
PUBLISH_TIMEOUT = 120.0


class KubeletError(DriverError):
    """The plugin did not do what kubelet asked."""


@dataclass(frozen=True, slots=True)
class Container:
    """A started container; `root` is its file system, seen from the node."""

    pod: str
    name: str
    root: Path


@dataclass(slots=True)
class Pod:
    """An admitted pod, and its published volumes and mounts."""

    manifest: Mapping[str, Any]
    uid: str
    volumes: list[str] = field(default_factory=list)
    mounts: list[Path] = field(default_factory=list)

    @property
    def name(self) -> str:
        return str(self.manifest["metadata"]["name"])


class Kubelet:
    """Owns `<root>/pods` and `<root>/plugins_registry`; not thread-safe.

    `call_seconds` collects the durations of successful RPCs by method.
    """

    def __init__(self, root: Path, mounts: Mounts, namespace: str) -> None:
        self.root = root
        self.call_seconds: dict[str, list[float]] = {}
        self._mounts = mounts
        self._namespace = namespace
        self._endpoint = ""
        self._pods: list[Pod] = []

    def prepare(self) -> None:
        """Make the folders, with shared mount propagation as on a node."""
        self.root.mkdir(parents=True, exist_ok=True)
        self._mounts.share(self.root)
        for name in ("pods", "plugins", "plugins_registry"):
            (self.root / name).mkdir(mode=0o750, exist_ok=True)

    def register(self, stop: threading.Event, timeout: float, check: Callable[[], None]) -> str:
        """Wait for a registration socket, register its plugin, return the plugin's name.

        `check` runs during the wait, and may raise to end it.
        """
        deadline = time.monotonic() + timeout
        registry = self.root / "plugins_registry"
        while not (sockets := sorted(registry.glob("[!.]*-reg.sock"))):
            check()
            if time.monotonic() > deadline or stop.wait(0.01):
                raise KubeletError("no plugin has registered")
        with grpc.insecure_channel(f"unix:{sockets[0]}") as channel:
            stub = registration_pb2_grpc.RegistrationStub(channel)
            info = stub.GetInfo(registration_pb2.InfoRequest(), timeout=PUBLISH_TIMEOUT)
            with grpc.insecure_channel(f"unix:{info.endpoint}") as endpoint:
                csi_pb2_grpc.NodeStub(endpoint).NodeGetInfo(
                    csi_pb2.NodeGetInfoRequest(), timeout=PUBLISH_TIMEOUT
                )
            status = registration_pb2.RegistrationStatus(plugin_registered=True)
            stub.NotifyRegistrationStatus(status, timeout=5)
        self._endpoint = info.endpoint
        return str(info.name)

    def start(self, manifest: Mapping[str, Any], rootfs: Path) -> list[Container]:
        """Publish a pod's volumes and start its containers below `rootfs`."""
        metadata = manifest["metadata"]
        uid = metadata.get("uid") or str(uuid.uuid5(uuid.NAMESPACE_DNS, metadata["name"]))
        pod = Pod(manifest, uid)
        self._pods.append(pod)
        for volume in self._csi_volumes(pod):
            path = self._volume_path(pod, volume["name"])
            path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            pod.volumes.append(volume["name"])
            self._publish(pod, volume)
        return [self._start_container(pod, c, rootfs) for c in manifest["spec"]["containers"]]

    def republish(self) -> None:
        """Publish every volume again, as kubelet does because of requiresRepublish."""
        for pod in self._pods:
            for volume in self._csi_volumes(pod):
                self._publish(pod, volume)

    def stop(self) -> None:
        """Remove every pod: first its containers' mounts, then its volumes."""
        while self._pods:
            pod = self._pods[-1]
            while pod.mounts:
                self._mounts.unmount(pod.mounts.pop())
            while pod.volumes:
                self._unpublish(pod, pod.volumes.pop())
            self._pods.pop()

    def _csi_volumes(self, pod: Pod) -> list[Mapping[str, Any]]:
        volumes = pod.manifest["spec"].get("volumes", [])
        return [v for v in volumes if v.get("csi", {}).get("driver") == core_names.DRIVER_NAME]

    def _volume_path(self, pod: Pod, volume: str) -> Path:
        return self.root / "pods" / pod.uid / "volumes/kubernetes.io~csi" / volume / "mount"

    def _publish(self, pod: Pod, volume: Mapping[str, Any]) -> None:
        csi = volume["csi"]
        mount = csi_pb2.VolumeCapability.MountVolume(fs_type=csi.get("fsType", ""))
        fs_group = pod.manifest["spec"].get("securityContext", {}).get("fsGroup")
        if fs_group is not None:
            mount.volume_mount_group = str(fs_group)
        context = {
            **csi.get("volumeAttributes", {}),
            core_names.POD_NAME: pod.name,
            core_names.POD_NAMESPACE: self._namespace,
            core_names.POD_UID: pod.uid,
            "csi.storage.k8s.io/serviceAccount.name": "default",
            core_names.EPHEMERAL: "true",
        }
        request = csi_pb2.NodePublishVolumeRequest(
            volume_id=_volume_id(pod, volume["name"]),
            target_path=str(self._volume_path(pod, volume["name"])),
            volume_capability=csi_pb2.VolumeCapability(
                mount=mount,
                access_mode=csi_pb2.VolumeCapability.AccessMode(
                    mode=csi_pb2.VolumeCapability.AccessMode.SINGLE_NODE_WRITER
                ),
            ),
            readonly=csi.get("readOnly", False),
            volume_context=context,
        )
        for _ in range(2):
            self._call("NodeGetCapabilities", csi_pb2.NodeGetCapabilitiesRequest())
        self._call("NodePublishVolume", request)

    def _unpublish(self, pod: Pod, volume: str) -> None:
        path = self._volume_path(pod, volume)
        request = csi_pb2.NodeUnpublishVolumeRequest(
            volume_id=_volume_id(pod, volume), target_path=str(path)
        )
        self._call("NodeUnpublishVolume", request)
        if path.exists():
            raise KubeletError(f"{path} is still there after NodeUnpublishVolume")

    def _call(self, method: str, request: Any) -> None:
        """Make one RPC over a new connection, as kubelet does."""
        with grpc.insecure_channel(f"unix:{self._endpoint}") as channel:
            started = time.monotonic()
            try:
                stub = csi_pb2_grpc.NodeStub(channel)
                getattr(stub, method)(request, timeout=PUBLISH_TIMEOUT)
            except grpc.RpcError as error:
                text = f"rpc error: code = {error.code().name} desc = {error.details()}"
                raise KubeletError(f"{method}: {text}") from error
        self.call_seconds.setdefault(method, []).append(time.monotonic() - started)

    def _start_container(self, pod: Pod, container: Mapping[str, Any], rootfs: Path) -> Container:
        root = rootfs / pod.name / container["name"]
        (root / "tmp").mkdir(parents=True, exist_ok=True)
        names = {volume["name"] for volume in self._csi_volumes(pod)}
        for index, mount in enumerate(container.get("volumeMounts", [])):
            if mount["name"] in names:
                self._bind(pod, container["name"], index, mount, root)
        return Container(pod.name, container["name"], root)

    def _bind(
        self, pod: Pod, container: str, index: int, mount: Mapping[str, Any], root: Path
    ) -> None:
        """Bind a volume, or a subPath of it through an O_PATH descriptor, as kubelet does."""
        source = self._volume_path(pod, mount["name"]) / mount.get("subPath", "")
        target = root / str(mount["mountPath"]).lstrip("/")
        if "subPath" in mount:
            folder = self.root / "pods" / pod.uid / "volume-subpaths" / mount["name"] / container
            folder.mkdir(mode=0o750, parents=True, exist_ok=True)
            (folder / str(index)).touch()
            descriptor = os.open(source, os.O_PATH | os.O_NOFOLLOW)
            try:
                self._mounts.bind(Path(f"/proc/self/fd/{descriptor}"), folder / str(index))
            finally:
                os.close(descriptor)
            pod.mounts.append(folder / str(index))
            source = folder / str(index)
            target.touch()
        else:
            target.mkdir(parents=True, exist_ok=True)
        self._mounts.bind(source, target)
        pod.mounts.append(target)


def _volume_id(pod: Pod, volume: str) -> str:
    return f"csi-{hashlib.sha256((pod.uid + volume).encode()).hexdigest()}"
