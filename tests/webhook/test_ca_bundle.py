import pytest

from csidriver.adapters.directory import DirectoryStore
from csidriver.errors import StoreConflict, StoreRefused
from tests.webhook.fakes import FakeClock, FakeConfiguration
from tests.webhook.rig import DAY, TERMS, Rig, authorities, offered, published


def test_a_bundle_with_nonsense_and_one_that_lacks_are_put_right(
    rig: Rig, store: DirectoryStore, configuration: FakeConfiguration
) -> None:
    rig.reconcile()
    (signer,) = authorities(store)
    configuration.set("nonsense", signer.pem)
    rig.reconcile()
    assert published(configuration) == {signer.id}


def test_a_configuration_that_changes_meanwhile_is_looked_at_again(
    rig: Rig, store: DirectoryStore, configuration: FakeConfiguration
) -> None:
    configuration.unwritable = StoreConflict("it has changed")
    rig.made.reconcile()
    assert 0 < rig.made.reconcile() < TERMS.poll_interval
    assert "not been read" in rig.made.problems()[0]
    configuration.unwritable = None
    rig.reconcile()
    assert published(configuration) == {one.id for one in authorities(store)}


def test_what_is_trusted_is_ready_though_the_next_authority_cannot_be_published(
    rig: Rig, store: DirectoryStore, configuration: FakeConfiguration
) -> None:
    rig.reconcile()
    # The certificate is renewed until the authority is.
    while rig.clock.time < authorities(store)[0].expires - TERMS.authority_lead - 30 * DAY:
        rig.clock.time += 20 * DAY
        rig.reconcile()
    (old,) = authorities(store)
    configuration.unwritable = StoreRefused("we lack the right")
    rig.clock.time = old.expires - TERMS.authority_lead
    for _ in range(3):
        rig.made.reconcile()
    served = rig.expiry()
    assert len(authorities(store)) == 2
    assert published(configuration) == {old.id}
    rig.clock.time += TERMS.propagation_delay + 1
    rig.made.reconcile()
    assert (rig.made.problems(), rig.expiry()) == ([], served)
    rig.clock.time = served
    rig.made.reconcile()
    assert any("we lack the right" in problem for problem in rig.made.problems())


@pytest.mark.parametrize("bundles", [None, ()], ids=["no configuration", "no webhooks"])
def test_a_configuration_that_asks_nobody_is_told(
    rig: Rig, configuration: FakeConfiguration, bundles: tuple[str, ...] | None
) -> None:
    rig.reconcile()
    configuration.bundles = bundles
    rig.reconcile()
    (problem,) = rig.made.problems()
    assert "MutatingWebhookConfiguration ours" in problem


def test_without_a_configuration_certificates_are_made_all_the_same(
    store: DirectoryStore, clock: FakeClock
) -> None:
    rig = Rig(store, clock, None)
    rig.reconcile()
    assert rig.made.problems() == []
    assert rig.made.context() is not None
    (old,) = authorities(store)
    clock.time += TERMS.authority_lifetime - TERMS.authority_lead
    rig.reconcile()
    clock.time += TERMS.propagation_delay
    rig.reconcile()
    assert rig.expiry() == offered(store).expires
    assert offered(store).issuer != old.id
