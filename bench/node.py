"""The test stand of the node plugin: API server, broker, companions, pods, plugin, and volumes."""

import base64
import hashlib
import json
import random
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc

from bench.processes import MEMORY, OWN_MOUNTS, ROLE, TIMEOUT, Program
from bench.servers import MERGE, Api, for_all, start_api_server, to_secret
from csidriver._proto import csi_pb2, csi_pb2_grpc
from csidriver.adapters.mounts import Mounts
from csidriver.core import names
from csidriver.core.broker.pod_access import PodRef
from csidriver.core.companion import AccessToken, Companion
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import SourceRef
from csidriver.core.sensitive import Sensitive
from csidriver.core.status import Status
from csidriver.demo.kubelet import Kubelet
from tests.broker.fakes import pod_manifest
from tests.cluster.broker_role import BrokerRole, create_namespace

NAMESPACE = "physics"
SOURCES = tuple(SourceRef(NAMESPACE, f"source-{number}") for number in range(140))
# A node of Kubernetes runs 110 pods unless told otherwise.
FULL_NODE, COMPANIONS = 110, 20
# Bytes of an access token: what Keycloak signs with RS256 for a user with a few roles, and for one
# with many; the larger one fills more than a page.
SIZES = (1200, 6000)
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
_SECRETS = f"/api/v1/namespaces/{names.TOKENS_NAMESPACE}/secrets"
_DIGEST, _NODE = 32, "bench"
_SPEC = {"containers": [{"name": "main", "image": "main"}], "automountServiceAccountToken": False}
# gRPC would hand a new channel the connection of an old one.
_OPTIONS = [("grpc.use_local_subchannel_pool", 1)]
Volume = tuple[int, SourceRef]  # its number, and its source


def random_token(size: int = SIZES[0]) -> str:
    """Return a token of `size` bytes that tells by itself whether it is whole."""
    raw = base64.urlsafe_b64encode(random.randbytes(size))  # noqa: S311 - no secret
    body = raw[: size - _DIGEST]
    return hashlib.sha256(body).hexdigest()[:_DIGEST] + body.decode()


def is_whole(content: bytes) -> bool:
    """Return True if the content is exactly one complete token."""
    digest = hashlib.sha256(content[_DIGEST:]).hexdigest()[:_DIGEST]
    return len(content) > _DIGEST and content[:_DIGEST] == digest.encode()


def new_companion(ref: SourceRef, generation: int, owner: str, size: int) -> tuple[Secret, str]:
    """Return a companion with a new token, as the refresher writes it, and the token."""
    now, text = time.time(), random_token(size)
    token = AccessToken(Sensitive(text), "Bearer", now, now + 3600, now)
    made = Companion(ref, "uid-1", generation, Status.READY, "", now + 1800, token, owner)
    return to_secret(made), text


def volumes_of(numbers: range) -> list[Volume]:
    return [(number, SOURCES[number % COMPANIONS]) for number in numbers]


class Caller:
    """Makes kubelet's calls over a connection that stays open; each takes milliseconds.

    `uids` are those of pods that exist, by the numbers of their volumes; others are made up.
    """

    def __init__(self, kubelet: Path, socket: Path, uids: Mapping[int, str]) -> None:
        self._pods, self._uids = kubelet / "pods", uids
        self._channel = grpc.insecure_channel(f"unix:{socket}", options=_OPTIONS)
        grpc.channel_ready_future(self._channel).result(timeout=TIMEOUT)

    def close(self) -> None:
        self._channel.close()

    def do_nothing(self) -> float:
        """Make a call that does nothing: what gRPC takes on both sides."""
        return self._call("NodeGetCapabilities", csi_pb2.NodeGetCapabilitiesRequest())

    def publish(self, number: int, ref: SourceRef | None) -> float:
        """Publish, without a source for a driver that knows nothing of tokens."""
        target = self.target(number)
        target.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        context = {
            **({"secretName": ref.name, "owner": "0"} if ref else {}),
            names.POD_NAME: f"pod-{number}",
            names.POD_NAMESPACE: NAMESPACE,
            names.POD_UID: self._uid(number),
            names.EPHEMERAL: "true",
            "csi.storage.k8s.io/serviceAccount.name": "default",
        }
        mode = csi_pb2.VolumeCapability.AccessMode.SINGLE_NODE_WRITER
        capability = csi_pb2.VolumeCapability(
            mount=csi_pb2.VolumeCapability.MountVolume(),
            access_mode=csi_pb2.VolumeCapability.AccessMode(mode=mode),
        )
        request = csi_pb2.NodePublishVolumeRequest(
            volume_id=f"csi-{number:064x}",
            target_path=str(target),
            volume_capability=capability,
            readonly=True,
            volume_context=context,
        )
        return self._call("NodePublishVolume", request)

    def unpublish(self, number: int) -> float:
        request = csi_pb2.NodeUnpublishVolumeRequest(
            volume_id=f"csi-{number:064x}", target_path=str(self.target(number))
        )
        return self._call("NodeUnpublishVolume", request)

    def target(self, number: int) -> Path:
        """Where kubelet wants a volume: each is that of a pod of its own."""
        return self._pods / self._uid(number) / "volumes/kubernetes.io~csi/token/mount"

    def _uid(self, number: int) -> str:
        return self._uids.get(number, f"{number:08x}-0000-4000-8000-000000000000")

    def _call(self, method: str, request: Any) -> float:
        began = time.perf_counter()
        getattr(csi_pb2_grpc.NodeStub(self._channel), method)(request, timeout=TIMEOUT)
        return 1000 * (time.perf_counter() - began)


class Stand(ExitStack):
    """A real API server, a broker, all companions, and at most one plugin.

    The plugin's namespace of mounts is a peer of ours below kubelet's folder. Published volumes
    stay when it stops, as on a node.
    """

    def __init__(self) -> None:
        super().__init__()
        plane = start_api_server(self)
        create_namespace(plane, NAMESPACE)
        self.uids: dict[int, str] = {}
        self.admin, self._generation = Api(plane), 0
        found = self.admin.send("GET", f"/api/v1/namespaces/{NAMESPACE}")
        self._owner: str = json.loads(found)["metadata"]["uid"]
        rights = plane.service_account(names.DRIVER_NAMESPACE, names.REFRESHER)
        self._refresher = Api(plane, rights)
        for ref in SOURCES:
            secret, _ = new_companion(ref, 0, self._owner, SIZES[0])
            self._refresher.send("POST", _SECRETS, secret.to_manifest())
        broker = BrokerRole(plane, MEMORY)
        self.callback(broker.close)
        broker.start()
        token = MEMORY / "plugin-token"
        token.write_text(broker.plugin_token(_NODE), encoding="ascii")
        self.kubelet = Kubelet(MEMORY / "kubelet", Mounts(), NAMESPACE)
        self.kubelet.prepare()
        self.socket = self.kubelet.root / "plugins" / names.DRIVER_NAME / "csi.sock"
        self._flags = (
            *("node", "--listen=127.0.0.1:0", f"--node-id={_NODE}", "--store=kubernetes"),
            *(*broker.node_flags, f"--broker-token={token}", f"--view-dir={MEMORY / 'view'}"),
            *(f"--kubelet-dir={self.kubelet.root}", "--volumes-per-namespace=9999"),
            "--volumes-per-node=9999",
        )

    def start(self, command: Sequence[str] = ROLE) -> float:
        """Start the plugin, and have kubelet register it; the seconds that took."""
        self.plugin = Program("node", [*OWN_MOUNTS, *command, *self._flags])
        self.kubelet.register(threading.Event(), TIMEOUT, self.plugin.check)
        took = time.monotonic() - self.plugin.started
        self.caller = Caller(self.kubelet.root, self.socket, self.uids)
        return took

    def stop(self) -> float:
        """Stop the plugin; the seconds that took."""
        self.caller.close()
        return self.plugin.stop()

    def make_pods(self, volumes: Sequence[Volume]) -> None:
        """Create the pods of these volumes that are not there yet."""

        def make(volume: Volume) -> None:
            number, ref = volume
            manifest = pod_manifest(PodRef(NAMESPACE, f"pod-{number}", ""), _NODE, ref.name)
            manifest["spec"] |= _SPEC
            made = json.loads(self.admin.send("POST", PODS, manifest))
            self.uids[number] = made["metadata"]["uid"]

        for_all([volume for volume in volumes if volume[0] not in self.uids], make)

    def publish(self, volumes: Sequence[Volume]) -> list[float]:
        """Publish one volume after the other; milliseconds of each."""
        self.make_pods(volumes)
        return [self.caller.publish(number, ref) for number, ref in volumes]

    def unpublish(self, volumes: Sequence[Volume]) -> None:
        for number, _ in volumes:
            self.caller.unpublish(number)

    def file(self, number: int) -> str:
        return str(self.caller.target(number) / "token")

    def change(self, ref: SourceRef, size: int = SIZES[0]) -> str:
        """Write a new token as the refresher does; return it when the API server has answered."""
        self._generation += 1
        secret, token = new_companion(ref, self._generation, self._owner, size)
        manifest = secret.to_manifest()
        changed = {"annotations": manifest["metadata"]["annotations"]}
        body = {"metadata": changed, "data": manifest["data"]}
        self._refresher.send("PATCH", f"{_SECRETS}/{ref.companion}", body, MERGE)
        return token
