"""A webhook in this process, with certificates of its own making."""

import threading

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

NAMES = frozenset({"oauth2-csi-webhook.oauth2-csi.svc"})


def certificates_in(
    store: SecretStore,
    configuration: Configuration | None,
    clock: WaitingClock,
    metrics: WebhookMetrics,
    policy: RotationPolicy,
    names: frozenset[str] = NAMES,
) -> ManagedCertificates:
    pki = CertificateFactory()
    secret = CertificateSecret(store, pki, DRIVER_NAMESPACE, policy)
    bundle = CaBundle(configuration, pki, policy)
    return ManagedCertificates(
        secret, bundle, pki, clock, metrics.expiry, names=names, policy=policy
    )


class Replica:
    """Runs from its making until `stop`."""

    def __init__(
        self,
        store: SecretStore,
        configuration: Configuration | None,
        policy: RotationPolicy,
        clock: SystemClock,
    ) -> None:
        metrics = WebhookMetrics(CollectorRegistry())
        certificates = certificates_in(store, configuration, clock, metrics, policy)
        address = ("127.0.0.1", 0)
        server = AdmissionServer(address, certificates.context, handle_review, metrics)
        self.role = Webhook(certificates, server, drain=2.0)
        self.port: int = server.address[1]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.role.run, args=(self._stop,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(10.0)
        assert not self._thread.is_alive()
