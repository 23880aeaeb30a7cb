"""Certificates of the webhook's own making, on the directory backend and a clock to turn."""

import pytest

from csidriver.core.annotations import CERTIFICATE_SECRET_TYPE
from csidriver.errors import StoreRefused, StoreUnavailable
from tests.leak_detection import LogCollector
from tests.webhook.replica import NAMES
from tests.webhook.rig import DAY, TERMS, Rig


def test_the_first_look_makes_publishes_and_serves(rig: Rig, logs: LogCollector) -> None:
    assert rig.made.context() is None
    assert len(rig.made.problems()) == 2
    assert rig.reconcile() == TERMS.poll_interval
    secret = rig.stored()
    assert secret.type == CERTIFICATE_SECRET_TYPE
    assert set(secret.data) == {"ca.crt", "ca.key", "tls.crt", "tls.key"}
    (signer,) = rig.authorities()
    assert rig.published() == {signer.id}
    assert rig.offered().names == NAMES
    assert rig.made.problems() == []
    assert rig.expiry() == rig.offered().expires
    assert rig.made.context() is not None
    assert [line for line in logs.lines if "damaged" in line] == []


def test_what_is_there_is_taken_and_nothing_is_written_when_nothing_is_due(rig: Rig) -> None:
    rig.reconcile()
    before, version = rig.stored(), rig.configuration.version
    rig.clock.time += DAY
    second = rig.beside()
    for each in (rig, second):
        each.reconcile()
    assert (rig.stored(), rig.configuration.version) == (before, version)
    assert second.expiry() == rig.expiry()


@pytest.mark.parametrize("unreadable", [None, StoreRefused("no")], ids=["", "unreadable"])
def test_a_certificate_is_renewed_and_served_before_it_ends(
    rig: Rig, unreadable: StoreRefused | None
) -> None:
    rig.reconcile()
    first, context = rig.offered(), rig.made.context()
    # The configuration, which a renewal does not need.
    rig.configuration.unreadable = unreadable
    rig.clock.time += TERMS.serving_lifetime - TERMS.serving_lead
    for _ in range(2):
        rig.made.reconcile()
    second = rig.offered()
    assert second.issuer == first.issuer
    assert second.expires > first.expires
    assert rig.expiry() == second.expires
    assert rig.made.context() is not context


def test_another_authority_is_published_at_once_and_served_once_it_has_settled(rig: Rig) -> None:
    rig.reconcile()
    second = rig.beside()
    second.reconcile()
    (old,) = rig.authorities()
    rig.clock.time += TERMS.authority_lifetime - TERMS.authority_lead
    # Certificates were renewed meanwhile; only the last of them counts here.
    for one in (rig, second):
        one.reconcile()
    before = second.expiry()
    assert [one.id for one in rig.authorities()][1:] == [old.id]
    assert rig.published() == {one.id for one in rig.authorities()}
    rig.clock.time += TERMS.propagation_delay - 1
    second.reconcile()
    assert second.expiry() == before
    rig.clock.time += 2
    second.reconcile()
    assert second.expiry() == rig.offered().expires
    assert rig.published() == {one.id for one in rig.authorities()}


def test_an_outage_is_no_reason_to_be_unready(rig: Rig) -> None:
    rig.reconcile()
    rig.configuration.unreadable = StoreUnavailable("away")
    pauses = [rig.made.reconcile() for _ in range(12)]
    assert rig.made.problems() == []
    assert pauses == sorted(pauses)
    assert pauses[-1] == TERMS.poll_interval
    rig.configuration.unreadable = None
    assert rig.made.reconcile() == TERMS.poll_interval


def test_roles_with_other_names_serve_no_certificate_without_their_own(rig: Rig) -> None:
    names = frozenset({"oauth2-csi-broker.oauth2-csi.svc"})
    broker = rig.beside(names)
    for each in (rig, broker, rig):
        each.reconcile()
    both = rig.offered()
    assert both.names == NAMES | names
    assert rig.expiry() == broker.expiry() == both.expires
    rig.clock.time = both.expires - 29 * DAY
    # Renewed with the names of the webhook only.
    rig.made.reconcile()
    pair = broker.made.pair()
    assert rig.offered().names == NAMES
    assert broker.made.reconcile() == 0.0
    assert broker.made.pair() == pair
    assert rig.offered().names == both.names
    for each in (broker, rig):
        each.reconcile()
    assert rig.made.pair() == broker.made.pair() != pair
