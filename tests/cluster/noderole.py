"""Node plugins in a cluster: their broker, their pods, their companions."""

import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc

from csidriver.adapters.clock import SystemClock
from csidriver.core.annotations import COMPANION_SECRET_TYPE
from csidriver.core.broker.pod_access import PodRef
from csidriver.core.companion import Companion
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import DRIVER_NAMESPACE, NODE, TOKENS_NAMESPACE, SourceRef
from csidriver.node.companions.broker_address import BrokerAddress
from csidriver.node.companions.broker_client import BrokerClient, ClientPauses
from tests.cluster.broker_role import ADDRESS, BrokerRole, create_namespace, create_pod
from tests.cluster.controlplane import ControlPlane
from tests.node.companions.nodes import SOON
from tests.node.plugin import Node, eventually

DRIVER, TOKENS, NAME = DRIVER_NAMESPACE, TOKENS_NAMESPACE, NODE
NODE_ID = "node-1"
PAUSES = ClientPauses(rejoin=(0.1, 0.2), alone=(0.1, 0.2), denied=SOON, undecided=SOON, poll=0.05)


class NodeRole:
    """Rights, a running broker, and the plugin's token in a file, as kubelet keeps it."""

    def __init__(self, plane: ControlPlane, folder: Path) -> None:
        self.plane = plane
        self.broker = BrokerRole(plane, folder)
        self.token_file = folder / "token"
        self._uids: dict[str, str] = {}
        self.broker.start()
        self.renew()

    @property
    def address(self) -> BrokerAddress:
        files = self.broker.authorities, self.token_file
        return BrokerAddress(ADDRESS, self.broker.port, *files)

    @property
    def flags(self) -> tuple[str, ...]:
        """Flags of a plugin as a process."""
        return ("--store=kubernetes", *self.broker.node_flags, f"--broker-token={self.token_file}")

    def renew(self) -> None:
        """Write a new token into the file."""
        self.token_file.write_text(self.broker.plugin_token(NODE_ID), encoding="ascii")

    def create_pod(self, namespace: str, *secrets: str, **attributes: str) -> PodRef:
        """Create a pod on the node, with a volume for each Secret."""
        create_namespace(self.plane, namespace)
        name = f"pod-{uuid.uuid4().hex[:8]}"
        return create_pod(self.plane, namespace, name, NODE_ID, *secrets, **attributes)

    def write_companion(self, companion: Companion, ref: SourceRef) -> None:
        """Write a companion, as the refresher does."""
        name = ref.namespace
        if name not in self._uids:
            create_namespace(self.plane, name)
            found = self.plane.api("GET", f"/api/v1/namespaces/{name}")
            self._uids[name] = found["metadata"]["uid"]
        owned = replace(companion, namespace_uid=self._uids[name])
        annotations, data = owned.annotations(), owned.data()
        secret = Secret(TOKENS, ref.companion, "", "", COMPANION_SECRET_TYPE, annotations, data)
        write_secret(self.plane, secret)

    def close(self) -> None:
        self.broker.close()


class ClusterNode(Node):
    """A node whose plugin asks a broker about a real pod, which has a volume for each Secret."""

    def __init__(self, role: NodeRole, namespace: str, *secrets: str, **attributes: str) -> None:
        super().__init__()
        self.role = role
        self.settings = replace(self.settings, publish_wait=1.0)
        self.pod = role.create_pod(namespace, *secrets, **attributes)

    def start(self, **settings: Any) -> None:
        client = BrokerClient(self.role.address, SystemClock(), PAUSES)
        self.plugin_store = client  # type: ignore[assignment] # no store
        super().start(**settings)

    def publish_as_kubelet(self, request: Any) -> None:
        """Publish again and again, until a broker has answered in time."""

        def is_published() -> bool:
            try:
                self.publish(request)
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                return False
            return True

        eventually(is_published, "a publish", 40.0)


def write_secret(plane: ControlPlane, secret: Secret) -> None:
    """Create or update a Secret."""
    path = f"/api/v1/namespaces/{secret.namespace}/secrets/{secret.name}"
    query, kind = "?fieldManager=oauth2-csi&force=true", "application/apply-patch+yaml"
    answer = plane.api("PATCH", path + query, secret.to_manifest(), kind)
    assert answer["kind"] == "Secret", answer
