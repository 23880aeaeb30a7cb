"""One replica with a clock and a configuration of its own, and what it has stored."""

from prometheus_client import CollectorRegistry

from csidriver.adapters.directory import DirectoryStore
from csidriver.core.admission.certificates import Certificate, RotationPolicy
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import CERTIFICATE, DRIVER_NAMESPACE
from csidriver.webhook.certificate_secret import empty_secret
from csidriver.webhook.metrics import WebhookMetrics
from csidriver.webhook.x509 import CertificateFactory
from tests.webhook.fakes import FakeClock, FakeConfiguration
from tests.webhook.replica import NAMES, ReplicaOptions, certificates_in

PKI = CertificateFactory()
TERMS = RotationPolicy()
DAY = 86_400.0


class Rig:
    """One replica, and what it shares with others."""

    def __init__(
        self,
        store: DirectoryStore,
        clock: FakeClock,
        configuration: FakeConfiguration | None,
        names: frozenset[str] = NAMES,
    ) -> None:
        self.clock = clock
        metrics = WebhookMetrics(CollectorRegistry())
        self.expiry = metrics.expiry._value.get
        given = ReplicaOptions(TERMS, names)
        self.made = certificates_in(store, configuration, given, clock, metrics)

    def reconcile(self) -> float:
        """Look until there is nothing to be done at once; in how many seconds there is."""
        for _ in range(5):
            if pause := self.made.reconcile():
                return pause
        raise AssertionError("it never comes to rest")


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
