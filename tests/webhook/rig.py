"""One replica with a clock and a configuration of its own, and what it has stored."""

import ssl

from prometheus_client import CollectorRegistry

from csidriver.adapters.directory import DirectoryStore
from csidriver.core.admission.certificates import Certificate, RotationPolicy
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import CERTIFICATE, DRIVER_NAMESPACE
from csidriver.webhook.ca_bundle import CaBundle
from csidriver.webhook.certificate_secret import CertificateSecret, empty_secret
from csidriver.webhook.managed_certificates import ManagedCertificates
from csidriver.webhook.metrics import WebhookMetrics
from csidriver.webhook.x509 import CertificateFactory
from tests.webhook.fakes import FakeClock, FakeConfiguration
from tests.webhook.replica import NAMES

PKI = CertificateFactory()
TERMS = RotationPolicy()
DAY = 86_400.0


class Rig:
    """One replica, and what it shares with others."""

    def __init__(
        self, store: DirectoryStore, clock: FakeClock, configuration: FakeConfiguration | None
    ) -> None:
        self.store = store
        self.clock = clock
        self.registry = CollectorRegistry()
        self.made = ManagedCertificates(
            CertificateSecret(store, PKI, DRIVER_NAMESPACE, TERMS),
            CaBundle(configuration, PKI, TERMS),
            PKI,
            clock,
            WebhookMetrics(self.registry).expiry,
            names=NAMES,
            policy=TERMS,
        )

    def reconcile(self) -> float:
        """Look until there is nothing to be done at once; in how many seconds there is."""
        for _ in range(5):
            if pause := self.made.reconcile():
                return pause
        raise AssertionError("it never comes to rest")

    def expiry(self) -> float | None:
        name = "oauth2_csi_webhook_certificate_expiry_timestamp_seconds"
        return self.registry.get_sample_value(name)


def ship_empty(store: DirectoryStore) -> None:
    """Bring the Secret as the manifests do: without content."""
    store.create_secret(empty_secret(DRIVER_NAMESPACE))


def stored(store: DirectoryStore) -> Secret:
    found = store.get_secret(DRIVER_NAMESPACE, CERTIFICATE)
    assert found is not None
    return found


def authorities(store: DirectoryStore) -> tuple[Certificate, ...]:
    return PKI.certificates(stored(store).data["ca.crt"].reveal())


def offered(store: DirectoryStore) -> Certificate:
    text = stored(store).data["tls.crt"].reveal()
    return PKI.certificates(text, authorities(store))[0]


def published(configuration: FakeConfiguration) -> set[str]:
    assert configuration.bundles is not None
    (text,) = set(configuration.bundles)
    return {one.id for one in PKI.certificates(text)}


def presented(context: ssl.SSLContext | None) -> ssl.SSLContext:
    assert context is not None
    return context
