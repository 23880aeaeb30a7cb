"""The node role in a cluster: its rights, its credentials, its companions."""

import json
from pathlib import Path

from csidriver.adapters.rest import Credentials
from csidriver.core.annotations import COMPANION_TYPE
from csidriver.core.companion import Companion
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import SourceRef
from tests.cluster.controlplane import ControlPlane

DRIVER, TOKENS, NAME = "oauth2-csi", "oauth2-csi-tokens", "oauth2-csi-node"


class NodeRole:
    """Installs namespaces and rights, and keeps a token file as kubelet does."""

    def __init__(self, plane: ControlPlane, folder: Path) -> None:
        self.plane = plane
        self.token_file = folder / "token"
        self.deploy()
        self.renew()

    @property
    def credentials(self) -> Credentials:
        return Credentials(self.plane.server, self.plane.ca, token_file=self.token_file)

    def deploy(self) -> None:
        """Install namespaces, service accounts and rights."""
        self.plane.install()

    def kubeconfig(self, name: str = NAME) -> Path:
        """Return the kubeconfig of a service account."""
        return self.plane.service_account(DRIVER, name)

    def renew(self) -> None:
        """Write a new token into the file."""
        config = json.loads(self.kubeconfig().read_text())
        self.token_file.write_text(config["users"][0]["user"]["token"], encoding="ascii")

    def write_companion(self, companion: Companion, ref: SourceRef) -> None:
        """Write a companion, as the refresher does."""
        notes, data = companion.annotations(), companion.data()
        self.write_secret(Secret(TOKENS, ref.companion, "", "", COMPANION_TYPE, notes, data))

    def write_secret(self, secret: Secret) -> None:
        """Create or update a Secret."""
        path = f"/api/v1/namespaces/{secret.namespace}/secrets/{secret.name}"
        query, kind = "?fieldManager=oauth2-csi&force=true", "application/apply-patch+yaml"
        answer = self.plane.api("PATCH", path + query, secret.to_manifest(), kind)
        assert answer["kind"] == "Secret", answer
