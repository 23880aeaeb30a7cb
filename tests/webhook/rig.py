"""One replica on a clock to turn and a configuration in memory, and what it has stored."""

import threading

from prometheus_client import CollectorRegistry

from csidriver.adapters.directory import DirectoryStore
from csidriver.core.admission.certificates import Certificate, CurrentCaBundles, RotationPolicy
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import CERTIFICATE, DRIVER_NAMESPACE
from csidriver.errors import StoreConflict, StoreError
from csidriver.webhook.certificate_secret import empty_secret
from csidriver.webhook.metrics import WebhookMetrics
from csidriver.webhook.x509 import CertificateFactory
from tests.webhook.replica import NAMES, certificates_in

PKI = CertificateFactory()
TERMS = RotationPolicy()
DAY = 86_400.0


class FakeClock:
    def __init__(self, now: float) -> None:
        self.time = now

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    def wait(self, event: threading.Event, seconds: float) -> bool:
        self.time += seconds
        return event.is_set()


class FakeConfiguration:
    """A MutatingWebhookConfiguration; `refuse` is raised by reads or writes, `busy` by a write."""

    def __init__(self, *bundles: str) -> None:
        self.bundles: tuple[str, ...] | None = bundles
        self.version = 1
        self.unreadable: StoreError | None = None
        self.unwritable: StoreError | None = None

    def __str__(self) -> str:
        return "MutatingWebhookConfiguration ours"

    def read(self) -> CurrentCaBundles | None:
        if self.unreadable is not None:
            raise self.unreadable
        if self.bundles is None:
            return None
        return CurrentCaBundles(self.bundles, str(self.version), ())

    def write(self, base: CurrentCaBundles, bundle: str) -> None:
        if self.unwritable is not None:
            raise self.unwritable
        if base.version != str(self.version):
            raise StoreConflict("it has changed")
        self.set(*[bundle] * len(base.bundles))

    def set(self, *bundles: str) -> None:
        self.bundles = bundles
        self.version += 1


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
        self.made = certificates_in(store, configuration, clock, metrics, TERMS, names)

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
