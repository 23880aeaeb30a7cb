"""Node plugins in a cluster: their broker, their pods, their companions."""

import uuid
from dataclasses import replace
from pathlib import Path

from csidriver.core.annotations import COMPANION_SECRET_TYPE
from csidriver.core.broker.pod_access import PodRef
from csidriver.core.companion import Companion
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import DRIVER_NAMESPACE, NODE, TOKENS_NAMESPACE, SourceRef
from tests.cluster.broker_role import BrokerRole, create_namespace, create_pod
from tests.cluster.controlplane import ControlPlane

DRIVER, TOKENS, NAME = DRIVER_NAMESPACE, TOKENS_NAMESPACE, NODE
NODE_ID = "node-1"


class NodeRole:
    """Rights, a running broker, and the plugin's token in a file, as kubelet keeps it."""

    def __init__(self, plane: ControlPlane, folder: Path) -> None:
        self.plane = plane
        self.broker = BrokerRole(plane, folder)
        self.token_file = folder / "token"
        self._uids: dict[str, str] = {}
        self.broker.start()
        self.token_file.write_text(self.broker.plugin_token(NODE_ID), encoding="ascii")

    @property
    def flags(self) -> tuple[str, ...]:
        return ("--store=kubernetes", *self.broker.node_flags, f"--broker-token={self.token_file}")

    def create_pod(self, namespace: str, *secrets: str, **attributes: str) -> PodRef:
        """Create a pod on the node, with a volume for each Secret."""
        create_namespace(self.plane, namespace)
        name = f"pod-{uuid.uuid4().hex[:8]}"
        return create_pod(self.plane, namespace, name, NODE_ID, *secrets, **attributes)

    def write_companion(self, companion: Companion, ref: SourceRef) -> None:
        name = ref.namespace
        if name not in self._uids:
            create_namespace(self.plane, name)
            found = self.plane.api("GET", f"/api/v1/namespaces/{name}")
            self._uids[name] = found["metadata"]["uid"]
        owned = replace(companion, namespace_uid=self._uids[name])
        write_secret(self.plane, companion_secret(owned, ref))

    def close(self) -> None:
        self.broker.close()


def companion_secret(written: Companion, ref: SourceRef) -> Secret:
    notes, data = written.annotations(), written.data()
    return Secret(TOKENS, ref.companion, "", "", COMPANION_SECRET_TYPE, notes, data)


def write_secret(plane: ControlPlane, secret: Secret) -> None:
    path = f"/api/v1/namespaces/{secret.namespace}/secrets/{secret.name}"
    query, kind = "?fieldManager=oauth2-csi&force=true", "application/apply-patch+yaml"
    answer = plane.api("PATCH", path + query, secret.to_manifest(), kind)
    assert answer["kind"] == "Secret", answer
