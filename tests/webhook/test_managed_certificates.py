"""Certificates of the webhook's own making, on the directory backend and a clock to turn."""

import ssl
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from csidriver.adapters.directory import DirectoryStore
from csidriver.adapters.x509 import CertificateFactory
from csidriver.core.admission.certificates import Certificate, RotationPolicy
from csidriver.core.annotations import CERTIFICATE_TYPE
from csidriver.core.kubernetes.secret import Secret, SecretPatch
from csidriver.core.names import CERTIFICATE, DRIVER_NAMESPACE
from csidriver.core.sensitive import Sensitive
from csidriver.errors import StoreConflict, StoreRefused, StoreUnavailable
from csidriver.webhook.ca_bundle import CaBundle
from csidriver.webhook.certificate_secret import CertificateSecret
from csidriver.webhook.managed_certificates import ManagedCertificates
from csidriver.webhook.metrics import WebhookMetrics
from tests.refresher.bench import until
from tests.webhook.fakes import FakeClock, FakeConfiguration
from tests.webhook.replica import NAMES

PKI = CertificateFactory()
TERMS = RotationPolicy()
DAY = 86_400.0


class Rig:
    """One replica, and what it shares with others."""

    def __init__(
        self, store: DirectoryStore, dial: FakeClock, register: FakeConfiguration | None
    ) -> None:
        self.store = store
        self.dial = dial
        self.registry = CollectorRegistry()
        self.made = ManagedCertificates(
            CertificateSecret(store, PKI, DRIVER_NAMESPACE, TERMS),
            CaBundle(register, PKI, TERMS),
            PKI,
            dial,
            WebhookMetrics(self.registry),
            names=NAMES,
            policy=TERMS,
        )

    def settle(self) -> float:
        """Look until there is nothing to be done at once; in how many seconds there is."""
        for _ in range(5):
            if pause := self.made.reconcile():
                return pause
        raise AssertionError("it never comes to rest")

    def expiry(self) -> float | None:
        name = "oauth2_csi_webhook_certificate_expiry_timestamp_seconds"
        return self.registry.get_sample_value(name)


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path)


@pytest.fixture
def dial() -> FakeClock:
    return FakeClock(float(int(time.time())))


@pytest.fixture
def register() -> FakeConfiguration:
    return FakeConfiguration("", "")


@pytest.fixture
def rig(store: DirectoryStore, dial: FakeClock, register: FakeConfiguration) -> Rig:
    return Rig(store, dial, register)


def stored(store: DirectoryStore) -> Secret:
    found = store.get_secret(DRIVER_NAMESPACE, CERTIFICATE)
    assert found is not None
    return found


def authorities(store: DirectoryStore) -> tuple[Certificate, ...]:
    return PKI.certificates(stored(store).data["ca.crt"].reveal())


def offered(store: DirectoryStore) -> Certificate:
    text = stored(store).data["tls.crt"].reveal()
    return PKI.certificates(text, authorities(store))[0]


def published(register: FakeConfiguration) -> set[str]:
    assert register.bundles is not None
    (text,) = set(register.bundles)
    return {one.id for one in PKI.certificates(text)}


def presented(context: ssl.SSLContext | None) -> ssl.SSLContext:
    assert context is not None
    return context


def test_the_first_look_makes_publishes_and_serves(
    rig: Rig, store: DirectoryStore, register: FakeConfiguration
) -> None:
    assert rig.made.context() is None
    assert len(rig.made.problems()) == 2
    assert rig.settle() == TERMS.poll_interval
    secret = stored(store)
    assert secret.type == CERTIFICATE_TYPE
    assert set(secret.data) == {"ca.crt", "ca.key", "tls.crt", "tls.key"}
    (signer,) = authorities(store)
    assert published(register) == {signer.id}
    assert offered(store).names == NAMES
    assert rig.made.problems() == []
    assert rig.expiry() == offered(store).expires
    presented(rig.made.context())


def test_nothing_is_written_when_nothing_is_due(
    rig: Rig, store: DirectoryStore, register: FakeConfiguration
) -> None:
    rig.settle()
    before, version = stored(store), register.version
    rig.dial.time += DAY
    rig.settle()
    assert (stored(store), register.version) == (before, version)


def test_a_second_replica_takes_what_is_there(
    rig: Rig, store: DirectoryStore, register: FakeConfiguration, dial: FakeClock
) -> None:
    rig.settle()
    before = stored(store)
    second = Rig(store, dial, register)
    second.settle()
    assert stored(store) == before
    assert second.expiry() == rig.expiry()


def test_a_certificate_is_renewed_and_served_before_it_ends(
    rig: Rig, store: DirectoryStore
) -> None:
    rig.settle()
    first, context = offered(store), presented(rig.made.context())
    rig.dial.time += TERMS.serving_lifetime - TERMS.serving_lead
    rig.settle()
    second = offered(store)
    assert second.issuer == first.issuer
    assert second.expires > first.expires
    assert rig.expiry() == second.expires
    assert rig.made.context() is not context


def test_another_authority_is_published_at_once_and_served_once_it_has_settled(
    rig: Rig, store: DirectoryStore, register: FakeConfiguration, dial: FakeClock
) -> None:
    rig.settle()
    second = Rig(store, dial, register)
    second.settle()
    (old,) = authorities(store)
    dial.time += TERMS.authority_lifetime - TERMS.authority_lead
    # Certificates were renewed meanwhile; only the last of them counts here.
    for one in (rig, second):
        one.settle()
    before = second.expiry()
    assert [one.id for one in authorities(store)][1:] == [old.id]
    assert published(register) == {one.id for one in authorities(store)}
    dial.time += TERMS.propagation_delay - 1
    second.settle()
    assert second.expiry() == before
    dial.time += 2
    second.settle()
    assert second.expiry() == offered(store).expires
    assert published(register) == {one.id for one in authorities(store)}


def test_an_authority_is_forgotten_when_it_has_expired(
    rig: Rig, store: DirectoryStore, register: FakeConfiguration
) -> None:
    rig.settle()
    (old,) = authorities(store)
    while rig.dial.time <= old.expires:
        rig.dial.time += 20 * DAY
        rig.settle()
        assert rig.made.problems() == []
    assert old.id not in {one.id for one in authorities(store)}
    assert old.id not in published(register)


def test_after_a_long_outage_everything_is_made_anew(
    rig: Rig, store: DirectoryStore, register: FakeConfiguration
) -> None:
    rig.settle()
    (old,) = authorities(store)
    rig.dial.time = old.expires + DAY
    assert rig.made.problems()
    rig.settle()
    assert published(register) == {one.id for one in authorities(store)}
    assert old.id not in published(register)
    assert rig.expiry() == offered(store).expires
    assert rig.made.problems() == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ca.crt", None),
        ("ca.crt", "nonsense"),
        ("ca.key", None),
        ("ca.key", "nonsense"),
        ("tls.crt", "nonsense"),
        ("tls.key", None),
    ],
)
def test_a_damaged_secret_is_made_anew_while_the_former_certificate_is_served(
    rig: Rig, store: DirectoryStore, register: FakeConfiguration, key: str, value: str | None
) -> None:
    rig.settle()
    before, (old,), expiry = stored(store), authorities(store), rig.expiry()
    rig.dial.time += 60
    patch = SecretPatch(data={key: None if value is None else Sensitive(value)})
    store.patch_secret(before, patch)
    rig.settle()
    (new,) = authorities(store)
    assert new.id != old.id
    assert published(register) == {new.id, old.id}
    assert rig.expiry() == expiry
    rig.dial.time += TERMS.propagation_delay + 1
    rig.settle()
    assert rig.expiry() == offered(store).expires
    rig.dial.time += TERMS.unknown_ca_ttl
    rig.settle()
    assert published(register) == {new.id}


def test_parts_that_do_not_belong_together_are_damage(rig: Rig, store: DirectoryStore) -> None:
    rig.settle()
    before = stored(store)
    other, key = PKI.new_authority(rig.dial.time, DAY)
    data = {"ca.crt": Sensitive(other.pem), "ca.key": key}
    store.patch_secret(before, SecretPatch(data=dict(data)))
    rig.settle()
    assert offered(store).issuer == authorities(store)[0].id != other.id


def test_a_secret_of_somebody_else_is_left_alone(
    rig: Rig, store: DirectoryStore, register: FakeConfiguration
) -> None:
    data = {"tls.crt": Sensitive("theirs")}
    foreign = store.create_secret(Secret(DRIVER_NAMESPACE, CERTIFICATE, data=data))
    for _ in range(3):
        rig.made.reconcile()
    assert stored(store) == foreign
    assert published(register) == set()
    assert rig.made.context() is None
    assert "--tls-cert-file" in rig.made.problems()[0]


def test_a_bundle_with_nonsense_and_one_that_lacks_are_put_right(
    rig: Rig, store: DirectoryStore, register: FakeConfiguration
) -> None:
    rig.settle()
    (signer,) = authorities(store)
    register.set("nonsense", signer.pem)
    rig.settle()
    assert published(register) == {signer.id}


class Late(DirectoryStore):
    """A store that lets another replica do something before it creates."""

    other: Rig

    def create_secret(self, secret: Secret) -> Secret:
        self.other.settle()
        return super().create_secret(secret)


def test_of_two_replicas_that_begin_at_once_one_takes_what_the_other_made(
    store: DirectoryStore, register: FakeConfiguration, dial: FakeClock, tmp_path: Path
) -> None:
    late = Late(tmp_path)
    late.other = Rig(store, dial, register)
    rig = Rig(late, dial, register)
    assert 0 < rig.made.reconcile() < TERMS.poll_interval
    rig.settle()
    assert rig.expiry() == late.other.expiry() == offered(store).expires


def test_a_configuration_that_changes_meanwhile_is_looked_at_again(
    rig: Rig, store: DirectoryStore, register: FakeConfiguration
) -> None:
    register.unwritable = StoreConflict("it has changed")
    rig.made.reconcile()
    assert 0 < rig.made.reconcile() < TERMS.poll_interval
    assert "not been read" in rig.made.problems()[0]
    register.unwritable = None
    rig.settle()
    assert published(register) == {one.id for one in authorities(store)}


def test_it_looks_until_it_is_told_to_stop(rig: Rig) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=rig.made.run, args=(stop,))
    thread.start()
    until(lambda: rig.made.context() is not None)
    stop.set()
    thread.join(10)
    assert not thread.is_alive()


def test_an_outage_is_no_reason_to_be_unready(rig: Rig, register: FakeConfiguration) -> None:
    rig.settle()
    register.unreadable = StoreUnavailable("away")
    pauses = [rig.made.reconcile() for _ in range(12)]
    assert rig.made.problems() == []
    assert pauses == sorted(pauses)
    assert pauses[-1] == TERMS.poll_interval
    register.unreadable = None
    assert rig.made.reconcile() == TERMS.poll_interval


def test_certificates_are_renewed_while_the_configuration_cannot_be_read(
    rig: Rig, store: DirectoryStore, register: FakeConfiguration
) -> None:
    rig.settle()
    first = offered(store)
    register.unreadable = StoreRefused("no")
    rig.dial.time += TERMS.serving_lifetime - TERMS.serving_lead
    for _ in range(2):
        rig.made.reconcile()
    assert offered(store).expires > first.expires
    assert rig.expiry() == offered(store).expires


def test_a_bundle_that_may_not_be_written_is_told(rig: Rig, register: FakeConfiguration) -> None:
    register.unwritable = StoreRefused("we lack the right")
    for _ in range(3):
        rig.made.reconcile()
    (problem,) = rig.made.problems()
    assert "we lack the right" in problem
    register.unwritable = None
    rig.settle()
    assert rig.made.problems() == []


def test_what_is_trusted_is_ready_though_the_next_authority_cannot_be_published(
    rig: Rig, store: DirectoryStore, register: FakeConfiguration
) -> None:
    rig.settle()
    while rig.dial.time < authorities(store)[0].expires - TERMS.authority_lead - 30 * DAY:
        rig.dial.time += 20 * DAY
        rig.settle()
    (old,) = authorities(store)
    register.unwritable = StoreRefused("we lack the right")
    rig.dial.time = old.expires - TERMS.authority_lead
    for _ in range(3):
        rig.made.reconcile()
    served = rig.expiry()
    assert served is not None
    assert len(authorities(store)) == 2
    assert published(register) == {old.id}
    rig.dial.time += TERMS.propagation_delay + 1
    rig.made.reconcile()
    assert (rig.made.problems(), rig.expiry()) == ([], served)
    rig.dial.time = served
    rig.made.reconcile()
    assert any("we lack the right" in problem for problem in rig.made.problems())


@pytest.mark.parametrize("bundles", [None, ()], ids=["no configuration", "no webhooks"])
def test_a_configuration_that_asks_nobody_is_told(
    rig: Rig, register: FakeConfiguration, bundles: tuple[str, ...] | None
) -> None:
    rig.settle()
    register.bundles = bundles
    rig.settle()
    (problem,) = rig.made.problems()
    assert "MutatingWebhookConfiguration ours" in problem


def test_without_a_configuration_certificates_are_made_all_the_same(
    store: DirectoryStore, dial: FakeClock
) -> None:
    rig = Rig(store, dial, None)
    rig.settle()
    assert rig.made.problems() == []
    presented(rig.made.context())
    (old,) = authorities(store)
    dial.time += TERMS.authority_lifetime - TERMS.authority_lead
    rig.settle()
    dial.time += TERMS.propagation_delay
    rig.settle()
    assert rig.expiry() == offered(store).expires
    assert offered(store).issuer != old.id


def test_a_name_that_is_added_is_in_the_next_certificate_at_once(
    rig: Rig, store: DirectoryStore, register: FakeConfiguration, dial: FakeClock
) -> None:
    rig.settle()
    other = Rig(store, dial, register)
    other.made._names = frozenset({"10.0.0.1"})
    other.settle()
    assert offered(store).names == NAMES | {"10.0.0.1"}
    before = stored(store)
    rig.settle()
    other.settle()
    assert stored(store) == before


def test_keys_are_shown_nowhere(rig: Rig, store: DirectoryStore) -> None:
    rig.settle()
    material = CertificateSecret(store, PKI, DRIVER_NAMESPACE, replace(TERMS)).read()
    for key in ("ca.key", "tls.key"):
        secret = stored(store).data[key].reveal().splitlines()[1]
        assert secret not in repr(material)
