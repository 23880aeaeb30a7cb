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
    """One replica, the store and the configuration that it shares with others, and their clock."""

    def __init__(
        self,
        store: DirectoryStore,
        configuration: FakeConfiguration | None,
        clock: FakeClock,
        names: frozenset[str] = NAMES,
    ) -> None:
        self.store, self.clock = store, clock
        self.configuration = configuration or FakeConfiguration()
        metrics = WebhookMetrics(CollectorRegistry())
        self.expiry = metrics.expiry._value.get
        given = ReplicaOptions(TERMS, names)
        self.made = certificates_in(store, configuration, given, clock, metrics)

    def beside(self, names: frozenset[str] = NAMES) -> "Rig":
        return Rig(self.store, self.configuration, self.clock, names)

    def reconcile(self) -> float:
        """Look until there is nothing to be done at once; in how many seconds there is."""
        for _ in range(5):
            if pause := self.made.reconcile():
                return pause
        raise AssertionError("it never comes to rest")

    def ship_empty(self) -> None:
        """Bring the Secret as the manifests do: without content."""
        self.store.create_secret(empty_secret(DRIVER_NAMESPACE))

    def stored(self) -> Secret:
        found = self.store.get_secret(DRIVER_NAMESPACE, CERTIFICATE)
        assert found is not None
        return found

    def authorities(self) -> tuple[Certificate, ...]:
        return PKI.certificates(self.stored().data["ca.crt"].reveal())

    def offered(self) -> Certificate:
        return PKI.certificates(self.stored().data["tls.crt"].reveal(), self.authorities())[0]

    def published(self) -> set[str]:
        assert self.configuration.bundles is not None
        (text,) = set(self.configuration.bundles)
        return {one.id for one in PKI.certificates(text)}
