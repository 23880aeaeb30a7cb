"""Names of the driver, its namespaces and its objects, as `docs/architecture.md` lists them."""

import hashlib
from dataclasses import dataclass

DRIVER_NAME = "oauth2.csi.cern.ch"
FIELD_MANAGER = "oauth2-csi"

# The refresher's Deployment and its Lease.
REFRESHER = "oauth2-csi-refresher"
# The ConfigMap with what users may know of the issuers.
PUBLIC_ISSUERS = "oauth2-csi-issuers-public"
# The webhook's Service and configuration, the Secret of its certificates, and its path.
WEBHOOK = "oauth2-csi-webhook"
CERTIFICATE = "oauth2-csi-webhook-certificate"
ADMISSION_PATH = "/mutate"
# The broker's Service, the audience of the token that a node plugin presents to it, and the
# account of that plugin.
BROKER = BROKER_AUDIENCE = "oauth2-csi-broker"
NODE = "oauth2-csi-node"
# The ConfigMap with the CAs of the broker, for nodes.
BROKER_CA = "oauth2-csi-broker-ca"

DRIVER_NAMESPACE = "oauth2-csi"
TOKENS_NAMESPACE = "oauth2-csi-tokens"

# Keys that kubelet puts into volume_context (podInfoOnMount); users cannot forge them.
POD_NAME = "csi.storage.k8s.io/pod.name"
POD_NAMESPACE = "csi.storage.k8s.io/pod.namespace"
POD_UID = "csi.storage.k8s.io/pod.uid"
EPHEMERAL = "csi.storage.k8s.io/ephemeral"
KUBELET_PREFIX = "csi.storage.k8s.io/"

TEMPLATE_KEY = "template"


@dataclass(frozen=True, slots=True, order=True)
class SourceRef:
    """Reference to a source."""

    namespace: str
    name: str

    @property
    def id(self) -> str:
        return hashlib.sha256(str(self).encode()).hexdigest()[:32]

    @property
    def grant(self) -> str:
        """Name of the grant, in the driver namespace."""
        return f"grant-{self.id}"

    @property
    def companion(self) -> str:
        """Name of the companion, in the tokens namespace."""
        return f"token-{self.id}"

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"
