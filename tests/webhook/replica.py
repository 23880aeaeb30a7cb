"""A webhook in this process, with certificates of its own making, and what it is made of."""

import threading
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry

from csidriver.adapters.clock import SystemClock
from csidriver.clock import WaitingClock
from csidriver.core.admission.certificates import RotationPolicy
from csidriver.core.names import DRIVER_NAMESPACE
from csidriver.webhook.ca_bundle import CaBundle, Configuration
from csidriver.webhook.certificate_secret import CertificateSecret, SecretStore
from csidriver.webhook.https_server import AdmissionServer
from csidriver.webhook.managed_certificates import ManagedCertificates
from csidriver.webhook.metrics import WebhookMetrics
from csidriver.webhook.review_handler import handle_review
from csidriver.webhook.webhook import Webhook
from csidriver.webhook.x509 import CertificateFactory

PROMPT = 10.0  # seconds in which it ends
NAMES = frozenset({"oauth2-csi-webhook.oauth2-csi.svc"})


@dataclass(frozen=True)
class ReplicaOptions:
    """What a test chooses."""

    policy: RotationPolicy = field(default_factory=lambda: RotationPolicy(poll_interval=0.1))
    names: frozenset[str] = NAMES
    clock: SystemClock = field(default_factory=SystemClock)
    drain: float = 0.0


def certificates_in(
    store: SecretStore,
    configuration: Configuration | None,
    given: ReplicaOptions,
    clock: WaitingClock,
    metrics: WebhookMetrics,
) -> ManagedCertificates:
    pki = CertificateFactory()
    return ManagedCertificates(
        CertificateSecret(store, pki, DRIVER_NAMESPACE, given.policy),
        CaBundle(configuration, pki, given.policy),
        pki,
        clock,
        metrics.expiry,
        names=given.names,
        policy=given.policy,
    )


class Replica:
    """`start` and `stop` it; `certificates` may be looked at in between."""

    def __init__(
        self,
        store: SecretStore,
        configuration: Configuration | None,
        given: ReplicaOptions | None = None,
    ) -> None:
        given = given or ReplicaOptions()
        self.registry = CollectorRegistry()
        metrics = WebhookMetrics(self.registry)
        self.certificates = certificates_in(store, configuration, given, given.clock, metrics)
        self.server = AdmissionServer(
            ("127.0.0.1", 0), self.certificates.context, handle_review, metrics
        )
        self.role = Webhook(self.certificates, self.server, given.drain)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.role.run, args=(self._stop,), daemon=True)

    @property
    def port(self) -> int:
        return self.server.address[1]

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(PROMPT)
        assert not self._thread.is_alive()
