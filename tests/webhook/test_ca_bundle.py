import pytest

from csidriver.errors import StoreConflict, StoreRefused
from tests.webhook.rig import DAY, TERMS, Rig


def test_a_bundle_with_nonsense_and_one_that_lacks_are_put_right(rig: Rig) -> None:
    rig.reconcile()
    (signer,) = rig.authorities()
    rig.configuration.set("nonsense", signer.pem)
    rig.reconcile()
    assert rig.published() == {signer.id}


def test_a_configuration_that_changes_meanwhile_is_looked_at_again(rig: Rig) -> None:
    rig.configuration.unwritable = StoreConflict("it has changed")
    rig.made.reconcile()
    assert 0 < rig.made.reconcile() < TERMS.poll_interval
    assert "not been read" in rig.made.problems()[0]
    rig.configuration.unwritable = None
    rig.reconcile()
    assert rig.published() == {one.id for one in rig.authorities()}


def test_what_is_trusted_is_ready_though_the_next_authority_cannot_be_published(rig: Rig) -> None:
    rig.reconcile()
    # The certificate is renewed until the authority is.
    while rig.clock.time < rig.authorities()[0].expires - TERMS.authority_lead - 30 * DAY:
        rig.clock.time += 20 * DAY
        rig.reconcile()
    (old,) = rig.authorities()
    rig.configuration.unwritable = StoreRefused("we lack the right")
    rig.clock.time = old.expires - TERMS.authority_lead
    for _ in range(3):
        rig.made.reconcile()
    served = rig.expiry()
    assert len(rig.authorities()) == 2
    assert rig.published() == {old.id}
    rig.clock.time += TERMS.propagation_delay + 1
    rig.made.reconcile()
    assert (rig.made.problems(), rig.expiry()) == ([], served)
    rig.clock.time = served
    rig.made.reconcile()
    assert any("we lack the right" in problem for problem in rig.made.problems())


@pytest.mark.parametrize("bundles", [None, ()], ids=["no configuration", "no webhooks"])
def test_a_configuration_that_asks_nobody_is_told(
    rig: Rig, bundles: tuple[str, ...] | None
) -> None:
    rig.reconcile()
    rig.configuration.bundles = bundles
    rig.reconcile()
    (problem,) = rig.made.problems()
    assert "MutatingWebhookConfiguration ours" in problem


def test_without_a_configuration_certificates_are_made_all_the_same(rig: Rig) -> None:
    rig = Rig(rig.store, None, rig.clock)
    rig.reconcile()
    assert rig.made.problems() == []
    assert rig.made.context() is not None
    (old,) = rig.authorities()
    rig.clock.time += TERMS.authority_lifetime - TERMS.authority_lead
    rig.reconcile()
    rig.clock.time += TERMS.propagation_delay
    rig.reconcile()
    assert rig.expiry() == rig.offered().expires
    assert rig.offered().issuer != old.id
