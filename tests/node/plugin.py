"""A node with a plugin in a thread, with real sockets, mounts and leases."""

import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry

from csidriver._proto import csi_pb2, csi_pb2_grpc
from csidriver.adapters import mounts
from csidriver.adapters.clock import SystemClock
from csidriver.adapters.directory import DirectoryStore
from csidriver.adapters.mounts import Mounts
from csidriver.config import NodeSettings
from csidriver.core import annotations as core_annotations
from csidriver.core import names as core_names
from csidriver.core.broker.pod_access import PodRef
from csidriver.core.companion import AccessToken, Companion
from csidriver.core.kubernetes.secret import Secret, SecretPatch
from csidriver.core.names import SourceRef
from csidriver.core.sensitive import Sensitive
from csidriver.core.status import Status
from csidriver.core.volume.mountinfo import Mount
from csidriver.demo.kubelet import Kubelet
from csidriver.node.plugin import NodePlugin
from csidriver.node.token_fs import folder_name
from tests.kubectl_store import KubectlStore
from tests.waiting import TIMEOUT, until

NAMESPACE = "alice"
TOKENS = "oauth2-csi-tokens"
SOURCE = SourceRef(NAMESPACE, "hello-token")
POD = PodRef(NAMESPACE, "pod-1", "uid-1")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def follow_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("follow-")]


def token(value: str, *, left: float = 3600.0, lifetime: float = 3600.0) -> AccessToken:
    now = time.time()
    return AccessToken(Sensitive(value), "Bearer", now + left - lifetime, now + left, now)


def companion(access: AccessToken | None, generation: int = 1, **changes: Any) -> Companion:
    result = Companion(SOURCE, "uid-1", generation, Status.READY, "", time.time() + 1800, access)
    return replace(result, **changes)


class ShiftedClock(SystemClock):
    """The machine's clock plus `ahead` seconds."""

    ahead = 0.0

    def now(self) -> float:
        return time.time() + self.ahead


class Node:
    """`start` and `stop` a plugin any number of times; `close` removes everything.

    `pod` has the volumes.
    """

    def __init__(self) -> None:
        self.pod = POD
        # Short: a unix socket's path has at most 107 bytes.
        self.root = Path(tempfile.mkdtemp(prefix="n", dir="/tmp"))
        self.kubelet_dir = self.root / "k"
        self.mounts = Mounts()
        self.store_root = self.root / "s"
        self.store = KubectlStore(self.store_root)
        self.plugin_store = DirectoryStore(self.store_root, poll=0.005)
        self.clock = ShiftedClock()
        self.registry = CollectorRegistry()
        self.settings = NodeSettings(
            kubelet_dir=self.kubelet_dir,
            node_id="node-1",
            view=self.root / "v",
            tokens_namespace=TOKENS,
            publish_wait=TIMEOUT,
        )
        self.socket = self.settings.plugin_dir / "csi.sock"
        self.registration = (
            self.kubelet_dir / "plugins_registry" / f"{core_names.DRIVER_NAME}-reg.sock"
        )
        self.token_folder = self.settings.plugin_dir / "tokens"
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._failure: list[BaseException] = []
        self._channel: Any = None
        Kubelet(self.kubelet_dir, self.mounts, NAMESPACE).prepare()

    def start(self, **settings: Any) -> None:
        self.settings = replace(self.settings, **settings)
        self.registry = CollectorRegistry()
        self.plugin = plugin = NodePlugin(
            self.settings, self.plugin_store, self.mounts, self.clock, self.registry
        )
        self._stop = threading.Event()
        self._failure = []
        before = _inode(self.registration)
        self._thread = threading.Thread(target=self._run, args=(plugin,), name="plugin")
        self._thread.start()
        until(lambda: self._failure or _inode(self.registration) not in (None, before), "start")
        if self._failure:
            self.join()
        self._channel = grpc.insecure_channel(f"unix:{self.socket}")

    def stop(self) -> None:
        self._stop.set()
        self.join()

    def join(self) -> None:
        """Wait until the plugin has ended; raise its exception."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(TIMEOUT)
            assert not thread.is_alive(), "the plugin does not end"
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._failure:
            raise self._failure.pop()

    def close(self) -> None:
        try:
            self.stop()
        finally:
            for mount in reversed(self.mounts.table()):
                if Path(mount.target).is_relative_to(self.root):
                    self.mounts.unmount(Path(mount.target))
            shutil.rmtree(self.root, ignore_errors=True)

    def call(self, method: str, request: Any, timeout: float = 30.0) -> Any:
        return getattr(csi_pb2_grpc.NodeStub(self._channel), method)(request, timeout=timeout)

    def publish(self, request: Any) -> None:
        self.call("NodePublishVolume", request)

    def publish_async(self, request: Any) -> Any:
        """Start a publish; return the future of its response."""
        return csi_pb2_grpc.NodeStub(self._channel).NodePublishVolume.future(request, timeout=30)

    def refused(self, request: Any) -> tuple[grpc.StatusCode, str]:
        return refused(lambda: self.publish(request))

    def unpublish(self, volume: str = "v1") -> None:
        request = csi_pb2.NodeUnpublishVolumeRequest(
            volume_id=f"csi-{volume}", target_path=str(self.target(volume))
        )
        self.call("NodeUnpublishVolume", request)

    def target(self, volume: str = "v1") -> Path:
        volumes = self.kubelet_dir / "pods" / self.pod.uid / "volumes/kubernetes.io~csi"
        return volumes / volume / "mount"

    def file(self, volume: str = "v1") -> Path:
        return self.target(volume) / "token"

    def content(self, volume: str = "v1") -> str:
        return self.file(volume).read_text(encoding="utf-8")

    def folder(self, volume: str = "v1") -> Path:
        return self.token_folder / folder_name(f"csi-{volume}")

    def request(
        self, volume: str = "v1", attributes: Mapping[str, str] | None = None, group: str = ""
    ) -> Any:
        """Return kubelet's request, and make the folder that kubelet makes before."""
        self.target(volume).parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        context = {
            "secretName": SOURCE.name,
            "owner": "0",
            **(attributes or {}),
            core_names.POD_NAME: self.pod.name,
            core_names.POD_NAMESPACE: self.pod.namespace,
            core_names.POD_UID: self.pod.uid,
            "csi.storage.k8s.io/serviceAccount.name": "default",
            core_names.EPHEMERAL: "true",
        }
        capability = csi_pb2.VolumeCapability(
            mount=csi_pb2.VolumeCapability.MountVolume(volume_mount_group=group),
            access_mode={"mode": csi_pb2.VolumeCapability.AccessMode.SINGLE_NODE_WRITER},
        )
        return csi_pb2.NodePublishVolumeRequest(
            volume_id=f"csi-{volume}",
            target_path=str(self.target(volume)),
            volume_capability=capability,
            readonly=True,
            volume_context=context,
        )

    def write_companion(self, new: Companion, ref: SourceRef = SOURCE) -> None:
        """Write a companion as the refresher does, under the name for `ref`."""
        old = self.store.get_secret(TOKENS, ref.companion)
        notes, data = new.annotations(), new.data()
        if old is None:
            kind = core_annotations.COMPANION_SECRET_TYPE
            made = Secret(TOKENS, ref.companion, type=kind, annotations=notes, data=data)
            self.store.create_secret(made)
        else:
            removed: dict[str, Sensitive | None] = dict.fromkeys(old.data)
            self.store.patch_secret(old, SecretPatch(notes, {**removed, **data}))

    def write_token(self, value: str, generation: int = 1, **token_changes: float) -> None:
        """Write a companion with a new token."""
        self.write_companion(companion(token(value, **token_changes), generation))

    def rotate(self, value: str, generation: int = 2) -> None:
        """Write a new token, and wait until the first volume has it."""
        self.write_token(value, generation)
        until(lambda: self.content() == value, "the rotation")

    def mounts_at(self, path: Path | None = None) -> list[Mount]:
        wanted = str(self.target() if path is None else path)
        return [mount for mount in self.mounts.table() if mount.target == wanted]

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0

    def nothing_left(self, volume: str = "v1") -> bool:
        """Return True without a folder, a mount or a watch."""
        return not (
            self.target(volume).exists()
            or self.folder(volume).exists()
            or self.mounts_at(self.target(volume))
            or follow_threads()
        )

    def _run(self, plugin: NodePlugin) -> None:
        try:
            plugin.run(self._stop)
        except BaseException as error:  # noqa: BLE001 - raised again by join()
            self._failure.append(error)


def refused(call: Callable[[], object]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    error: Any = caught.value
    return error.code(), error.details()


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def make_read_only(target: Path) -> None:
    """Remount a file system and its mount, as `mount -o remount,ro` does."""
    assert mounts._libc.mount(b"", bytes(target), b"", mounts._REMOUNT | mounts._RDONLY, b"") == 0


def sub_path_mount(node: Node, volume: str = "v1") -> Path:
    """A subPath mount of the token file."""
    target = node.root / f"sub-path-{volume}"
    target.touch()
    node.mounts.bind(node.file(volume), target)
    return target


def waiting_publish(node: Node, volume: str = "v1") -> Any:
    """A publish that waits for its token."""
    call = node.publish_async(node.request(volume))
    until(follow_threads, "a watch")
    return call


def outcome(call: Any) -> tuple[grpc.StatusCode, str]:
    """How a call ends, soon: well before `publish_wait` is over."""
    error = call.exception(timeout=5)
    return (grpc.StatusCode.OK, "") if error is None else (error.code(), error.details())


def give_template(node: Node, text: str | None, name: str = "shape") -> None:
    manifest = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name},
        "data": {"other": "x"} if text is None else {"template": text},
    }
    node.store.apply(manifest, NAMESPACE)
