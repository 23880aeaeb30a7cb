from pathlib import Path

import pytest

from csidriver.adapters.directory import DirectoryStore
from csidriver.core.kubernetes.secret import Secret, SecretPatch
from csidriver.core.names import CERTIFICATE, DRIVER_NAMESPACE
from csidriver.core.sensitive import Sensitive
from tests.webhook.rig import PKI, TERMS, Rig

OTHER, OTHER_KEY = PKI.new_authority(0.0, 1e10)
NONSENSE = Sensitive("nonsense")


@pytest.mark.parametrize(
    "damage",
    [
        *({"ca.crt": None}, {"ca.crt": NONSENSE}, {"ca.key": None}, {"tls.crt": NONSENSE}),
        *({"tls.key": None}, dict.fromkeys(("ca.crt", "ca.key", "tls.crt", "tls.key"))),
        {"ca.crt": Sensitive(OTHER.pem), "ca.key": OTHER_KEY},
    ],
    ids=repr,
)
def test_a_damaged_secret_is_made_anew_while_the_former_certificate_is_served(
    rig: Rig,
    damage: dict[str, Sensitive | None],
) -> None:
    rig.reconcile()
    (old,), expiry = rig.authorities(), rig.expiry()
    rig.clock.time += 60
    rig.store.patch_secret(rig.stored(), SecretPatch(data=damage))
    rig.reconcile()
    (new,) = rig.authorities()
    assert new.id not in {old.id, OTHER.id}
    assert rig.published() == {new.id, old.id}
    assert rig.expiry() == expiry
    rig.clock.time += TERMS.propagation_delay + 1
    rig.reconcile()
    assert rig.expiry() == rig.offered().expires
    rig.clock.time += TERMS.unknown_ca_ttl
    rig.reconcile()
    assert rig.published() == {new.id}


def test_a_secret_of_somebody_else_is_left_alone(rig: Rig) -> None:
    rig.store.delete_secret(rig.stored())
    data = {"tls.crt": Sensitive("theirs")}
    foreign = rig.store.create_secret(Secret(DRIVER_NAMESPACE, CERTIFICATE, data=data))
    for _ in range(3):
        rig.made.reconcile()
    assert rig.stored() == foreign
    assert rig.published() == set()
    assert rig.made.context() is None
    assert "--tls-cert-file" in rig.made.problems()[0]


class Late(DirectoryStore):
    """A store that lets another replica do something before it fills the Secret."""

    other: Rig

    def patch_secret(self, base: Secret, patch: SecretPatch) -> Secret:
        self.other.reconcile()
        return super().patch_secret(base, patch)


def test_of_two_replicas_that_begin_at_once_one_takes_what_the_other_made(
    rig: Rig, tmp_path: Path
) -> None:
    late = Late(tmp_path)
    late.other = rig
    second = Rig(late, rig.configuration, rig.clock)
    assert 0 < second.made.reconcile() < TERMS.poll_interval
    second.reconcile()
    assert second.expiry() == rig.expiry() == rig.offered().expires


def test_an_absent_secret_is_not_created_but_told_and_stops_no_server(rig: Rig) -> None:
    rig.store.delete_secret(rig.stored())
    pauses = [rig.made.reconcile() for _ in range(12)]
    assert pauses[-1] == TERMS.poll_interval
    assert rig.store.get_secret(DRIVER_NAMESPACE, CERTIFICATE) is None
    assert f"{CERTIFICATE} does not exist; apply" in rig.made.problems()[0]
    rig.ship_empty()
    rig.reconcile()
    assert rig.made.problems() == []
    rig.store.delete_secret(rig.stored())
    rig.made.reconcile()
    assert rig.made.problems() == []
    assert rig.made.context() is not None
