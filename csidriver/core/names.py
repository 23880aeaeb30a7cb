"""The names users, Kubernetes and this driver's roles agree on. This file is the user interface.

The specification behind each name is `docs/architecture.md`.
"""

import hashlib
from dataclasses import dataclass

DRIVER_NAME = "oauth2.csi.cern.ch"
PREFIX = f"{DRIVER_NAME}/"
COMPAT_PREFIX = "oauth2-refresh-controller.cern.ch/"

# On a user's Secret.
IS_TOKEN = f"{COMPAT_PREFIX}is-token"
ISSUER = f"{PREFIX}issuer"
KEY_OAUTH = "oauth"
KEY_OAUTH_ALIAS = "oauth2"  # what CERN's eosxd-csi documentation calls it
KEY_CLIENT_ID = "clientID"
KEY_CLIENT_SECRET = "clientSecret"  # noqa: S105 - the key's name, not a secret

# On a user's pod.
TO_INJECT = f"{COMPAT_PREFIX}to-inject"

# Written by the refresher: on sources and companions.
STATUS = f"{PREFIX}status"
MESSAGE = f"{PREFIX}message"
WARNING = f"{PREFIX}warning"
EXPIRES_AT = f"{PREFIX}expires-at"
REFRESHED_AT = f"{PREFIX}refreshed-at"
NEXT_REFRESH = f"{PREFIX}next-refresh"
GENERATION = f"{PREFIX}generation"
SOURCE_NAMESPACE = f"{PREFIX}source-namespace"
SOURCE_NAME = f"{PREFIX}source-name"
SOURCE_UID = f"{PREFIX}source-uid"

GRANT_TYPE = f"{PREFIX}grant"
COMPANION_TYPE = f"{PREFIX}access-token"
FIELD_MANAGER = "oauth2-csi"

# The refresher's Deployment and its Lease.
REFRESHER = "oauth2-csi-refresher"
# The webhook: its Service and its configuration, the Secret of its certificate, and its path.
WEBHOOK = "oauth2-csi-webhook"
CERTIFICATE = "oauth2-csi-webhook-tls"
CERTIFICATE_TYPE = f"{PREFIX}webhook-certificate"
ADMISSION_PATH = "/mutate"

DRIVER_NAMESPACE = "oauth2-csi"
TOKENS_NAMESPACE = "oauth2-csi-tokens"

# Keys kubelet puts into volume_context (podInfoOnMount); users cannot forge them.
POD_NAME = "csi.storage.k8s.io/pod.name"
POD_NAMESPACE = "csi.storage.k8s.io/pod.namespace"
POD_UID = "csi.storage.k8s.io/pod.uid"
EPHEMERAL = "csi.storage.k8s.io/ephemeral"
KUBELET_PREFIX = "csi.storage.k8s.io/"

TEMPLATE_KEY = "template"


@dataclass(frozen=True, slots=True, order=True)
class Ref:
    """Names one annotated Secret, the source of a token."""

    namespace: str
    name: str

    @property
    def id(self) -> str:
        """First 32 hex digits of SHA-256 of `namespace/name`."""
        return hashlib.sha256(str(self).encode()).hexdigest()[:32]

    @property
    def grant(self) -> str:
        """Name of the Secret in the driver's namespace that holds the live document."""
        return f"grant-{self.id}"

    @property
    def companion(self) -> str:
        """Name of the Secret in the tokens namespace that nodes read."""
        return f"token-{self.id}"

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"
