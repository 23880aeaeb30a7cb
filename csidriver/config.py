"""Settings of every role, as frozen values that the roles take. `flags` reads them.

Durations are in seconds.
"""

from dataclasses import dataclass
from pathlib import Path

from csidriver.core.names import DRIVER_NAME
from csidriver.errors import InvalidSettings

# The default: a pod mounts memory there, for the spool must not outlive the pod on a disk.
SPOOL = Path("/run/oauth2-csi/spool")
# Where brokers listen, and where a node has their CAs and its token for them.
BROKER_PORT = 9444
BROKER_FILES = Path("/run/oauth2-csi/broker")


@dataclass(frozen=True, slots=True)
class CommonSettings:
    """Settings that every role has. Metrics are served on `listen`, health on `health_listen`.

    `store` is the folder of the directory backend, or None for the Kubernetes API. The API's
    address and credentials come from `kubeconfig`, or from the pod if that is None.
    """

    store: Path | None
    kubeconfig: Path | None
    listen: tuple[str, int]
    health_listen: tuple[str, int]
    log_level: str
    log_format: str
    driver_namespace: str
    tokens_namespace: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFolders:
    """The plugin's paths on a node, which are the same on the host and in the container."""

    kubelet_dir: Path
    view: Path

    @property
    def plugin_dir(self) -> Path:
        return self.kubelet_dir / "plugins" / DRIVER_NAME

    @property
    def pods(self) -> Path:
        """Kubelet's folder of pods; volumes are mounted below it."""
        return self.kubelet_dir / "pods"

    @property
    def socket(self) -> Path:
        return self.plugin_dir / "csi.sock"

    @property
    def registration_socket(self) -> Path:
        """The socket on which kubelet finds the plugin."""
        return self.kubelet_dir / "plugins_registry" / f"{DRIVER_NAME}-reg.sock"


@dataclass(frozen=True, slots=True)
class NodeLimits:
    """The most volumes, and the most Secrets whose tokens they have, on one node."""

    volumes_per_pod: int = 32
    volumes_per_namespace: int = 500
    volumes_per_node: int = 1000
    secrets_per_namespace: int = 500
    secrets_per_node: int = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings(NodeFolders):
    """Settings of the node plugin; `size` of the token file system is in bytes."""

    node_id: str
    tokens_namespace: str
    publish_wait: float = 10.0
    size: int = 64 << 20
    inodes: int = 16384
    selinux_context: str = ""
    limits: NodeLimits = NodeLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanupSettings(NodeFolders):
    """Settings of `node cleanup`. With `force`, pods lose the volumes that they still have."""

    force: bool = False


@dataclass(frozen=True, slots=True)
class LeaseTimings:
    """The duration of a refresher's lease, and the time between two renewals.

    A refresher that cannot renew its lease stops `renew` seconds before others may take it.
    """

    duration: float = 15.0
    renew: float = 5.0

    def __post_init__(self) -> None:
        """Raise InvalidSettings unless one renewal may fail without harm."""
        if self.duration < 2 * self.renew:
            raise InvalidSettings("--lease-duration", ["must be at least twice --lease-renew"])

    @property
    def renew_deadline(self) -> float:
        """Time after the last renewal was sent for which this process holds the lease."""
        return self.duration - self.renew

    @property
    def retry_period(self) -> float:
        """Time between two tries to take or to renew the lease."""
        return self.renew / 8


@dataclass(frozen=True, slots=True)
class RefresherSettings:
    """Settings of the refresher. It serves sources of all namespaces if `namespaces` is empty."""

    issuers: tuple[Path, ...]
    namespaces: tuple[str, ...]
    spool_dir: Path
    identity: str
    http_timeout: float
    takeover_after: float
    lease: LeaseTimings
    tokens_per_namespace: int = 1000


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """PEM files of a certificate that another program, such as cert-manager, renews."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """Settings of the webhook.

    Without `files` it makes a certificate for `names`, and publishes its CA in the
    MutatingWebhookConfiguration `configuration_name`.
    """

    listen: tuple[str, int]
    names: frozenset[str]
    configuration_name: str
    files: CertificateFiles | None


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """Settings of the broker, which reads pods of all namespaces if `namespaces` is empty.

    Without `files` it makes a certificate for `names`, and publishes its CA in a ConfigMap.
    `account` is the node plugin's, as `namespace:name`.
    """

    listen: tuple[str, int]
    names: frozenset[str]
    files: CertificateFiles | None
    namespaces: tuple[str, ...]
    account: str
