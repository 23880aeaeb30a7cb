"""Certificates of the webhook's own making, on the directory backend and a clock to turn."""

import threading

from csidriver.adapters.directory import DirectoryStore
from csidriver.core.annotations import CERTIFICATE_SECRET_TYPE
from csidriver.errors import StoreRefused, StoreUnavailable
from tests.leak_detection import LogCollector
from tests.refresher.bench import until
from tests.webhook.fakes import FakeClock, FakeConfiguration
from tests.webhook.replica import NAMES
from tests.webhook.rig import DAY, TERMS, Rig, authorities, offered, published, stored


def test_the_first_look_makes_publishes_and_serves(
    rig: Rig, store: DirectoryStore, configuration: FakeConfiguration, logs: LogCollector
) -> None:
    assert rig.made.context() is None
    assert len(rig.made.problems()) == 2
    assert rig.reconcile() == TERMS.poll_interval
    secret = stored(store)
    assert secret.type == CERTIFICATE_SECRET_TYPE
    assert set(secret.data) == {"ca.crt", "ca.key", "tls.crt", "tls.key"}
    (signer,) = authorities(store)
    assert published(configuration) == {signer.id}
    assert offered(store).names == NAMES
    assert rig.made.problems() == []
    assert rig.expiry() == offered(store).expires
    assert rig.made.context() is not None
    assert [line for line in logs.lines if "damaged" in line] == []


def test_what_is_there_is_taken_and_nothing_is_written_when_nothing_is_due(
    rig: Rig, store: DirectoryStore, configuration: FakeConfiguration
) -> None:
    rig.reconcile()
    before, version = stored(store), configuration.version
    rig.clock.time += DAY
    second = Rig(store, rig.clock, configuration)
    for each in (rig, second):
        each.reconcile()
    assert (stored(store), configuration.version) == (before, version)
    assert second.expiry() == rig.expiry()


def test_a_certificate_is_renewed_and_served_before_it_ends(
    rig: Rig, store: DirectoryStore
) -> None:
    rig.reconcile()
    first, context = offered(store), rig.made.context()
    rig.clock.time += TERMS.serving_lifetime - TERMS.serving_lead
    rig.reconcile()
    second = offered(store)
    assert second.issuer == first.issuer
    assert second.expires > first.expires
    assert rig.expiry() == second.expires
    assert rig.made.context() is not context


def test_another_authority_is_published_at_once_and_served_once_it_has_settled(
    rig: Rig, store: DirectoryStore, configuration: FakeConfiguration, clock: FakeClock
) -> None:
    rig.reconcile()
    second = Rig(store, clock, configuration)
    second.reconcile()
    (old,) = authorities(store)
    clock.time += TERMS.authority_lifetime - TERMS.authority_lead
    # Certificates were renewed meanwhile; only the last of them counts here.
    for one in (rig, second):
        one.reconcile()
    before = second.expiry()
    assert [one.id for one in authorities(store)][1:] == [old.id]
    assert published(configuration) == {one.id for one in authorities(store)}
    clock.time += TERMS.propagation_delay - 1
    second.reconcile()
    assert second.expiry() == before
    clock.time += 2
    second.reconcile()
    assert second.expiry() == offered(store).expires
    assert published(configuration) == {one.id for one in authorities(store)}


def test_an_authority_is_forgotten_when_it_has_expired(
    rig: Rig, store: DirectoryStore, configuration: FakeConfiguration
) -> None:
    rig.reconcile()
    (old,) = authorities(store)
    while rig.clock.time <= old.expires:
        rig.clock.time += 20 * DAY
        rig.reconcile()
        assert rig.made.problems() == []
    assert old.id not in {one.id for one in authorities(store)}
    assert old.id not in published(configuration)


def test_it_looks_until_it_is_told_to_stop(rig: Rig) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=rig.made.run, args=(stop,))
    thread.start()
    until(lambda: rig.made.context() is not None)
    stop.set()
    thread.join(10)
    assert not thread.is_alive()


def test_an_outage_is_no_reason_to_be_unready(rig: Rig, configuration: FakeConfiguration) -> None:
    rig.reconcile()
    configuration.unreadable = StoreUnavailable("away")
    pauses = [rig.made.reconcile() for _ in range(12)]
    assert rig.made.problems() == []
    assert pauses == sorted(pauses)
    assert pauses[-1] == TERMS.poll_interval
    configuration.unreadable = None
    assert rig.made.reconcile() == TERMS.poll_interval


def test_certificates_are_renewed_while_the_configuration_cannot_be_read(
    rig: Rig, store: DirectoryStore, configuration: FakeConfiguration
) -> None:
    rig.reconcile()
    first = offered(store)
    configuration.unreadable = StoreRefused("no")
    rig.clock.time += TERMS.serving_lifetime - TERMS.serving_lead
    for _ in range(2):
        rig.made.reconcile()
    assert offered(store).expires > first.expires
    assert rig.expiry() == offered(store).expires


def test_roles_with_other_names_serve_no_certificate_without_their_own(
    rig: Rig, store: DirectoryStore, configuration: FakeConfiguration, clock: FakeClock
) -> None:
    names = frozenset({"oauth2-csi-broker.oauth2-csi.svc"})
    broker = Rig(store, clock, configuration, names)
    for each in (rig, broker, rig):
        each.reconcile()
    both = offered(store)
    assert both.names == NAMES | names
    assert rig.expiry() == broker.expiry() == both.expires
    clock.time = both.expires - 29 * DAY
    # Renewed with the names of the webhook only.
    rig.made.reconcile()
    pair = broker.made.pair()
    assert offered(store).names == NAMES
    assert broker.made.reconcile() == 0.0
    assert broker.made.pair() == pair
    assert offered(store).names == both.names
    for each in (broker, rig):
        each.reconcile()
    assert rig.made.pair() == broker.made.pair() != pair
