from dataclasses import replace

import pytest

from csidriver.core.admission.certificates import (
    Certificate,
    CertificateSet,
    RotationPlan,
    RotationPolicy,
    RotationStep,
    bundle_contents,
    first_seen,
    may_serve,
    next_step,
    still_trusted,
)

NOW = 1_000_000.0
NAMES = frozenset({"hook.ns.svc"})
POLICY = RotationPolicy(
    authority_lifetime=1000.0,
    authority_lead=400.0,
    serving_lifetime=100.0,
    serving_lead=30.0,
    propagation_delay=5.0,
    unknown_ca_ttl=15.0,
    poll_interval=1.0,
)


def authority(name: str, expires: float) -> Certificate:
    return Certificate(name, name, expires, frozenset(), f"pem of {name}")


def serving(issuer: str, expires: float, names: frozenset[str] = NAMES) -> Certificate:
    return Certificate(f"serving by {issuer}", issuer, expires, names, "pem")


NEW, OLD = authority("new", NOW + 900), authority("old", NOW + 300)
FRESH = CertificateSet((NEW, OLD), serving("new", NOW + 80))


@pytest.mark.parametrize(
    ("certificates", "step", "at"),
    [
        pytest.param(None, RotationStep.RENEW_ALL, NOW, id="nothing there"),
        pytest.param(FRESH, RotationStep.KEEP, NOW + 50, id="fresh; the certificate is due first"),
        pytest.param(
            replace(FRESH, authorities=(authority("new", NOW + 420), OLD)),
            RotationStep.KEEP,
            NOW + 20,
            id="fresh; the authority is due first",
        ),
        pytest.param(
            replace(FRESH, authorities=(authority("new", NOW + 400), OLD)),
            RotationStep.RENEW_ALL,
            NOW,
            id="authority due",
        ),
        pytest.param(
            replace(FRESH, serving=serving("new", NOW + 30)),
            RotationStep.RENEW_SERVING,
            NOW,
            id="certificate due",
        ),
        pytest.param(
            replace(FRESH, serving=serving("old", NOW + 80)),
            RotationStep.RENEW_SERVING,
            NOW,
            id="certificate of an authority that signs no more",
        ),
    ],
)
def test_the_next_step(certificates: CertificateSet | None, step: RotationStep, at: float) -> None:
    assert next_step(certificates, NAMES, NOW, POLICY) == RotationPlan(step, NAMES, at)


def test_names_that_lack_are_added_so_that_replicas_of_two_configurations_agree() -> None:
    other = frozenset({"other.ns.svc"})
    assert next_step(FRESH, other, NOW, POLICY) == RotationPlan(
        RotationStep.RENEW_SERVING, NAMES | other, NOW
    )
    both = replace(FRESH, serving=serving("new", NOW + 80, NAMES | other))
    for names in (NAMES, other):
        assert next_step(both, names, NOW, POLICY).step is RotationStep.KEEP


def test_a_certificate_is_present_since_the_last_time_it_was_absent() -> None:
    once = first_seen({}, [OLD], NOW)
    twice = first_seen(once, [NEW, OLD], NOW + 1)
    assert twice == {"old": NOW, "new": NOW + 1}
    assert first_seen(first_seen(twice, [NEW], NOW + 2), [OLD], NOW + 3) == {"old": NOW + 3}


@pytest.mark.parametrize(
    ("unknown_since", "published"),
    [({}, (NEW, OLD)), ({"old": NOW - 14.9}, (NEW, OLD)), ({"old": NOW - 15}, (NEW,))],
)
def test_unknown_cas_stay_published_for_a_while(
    unknown_since: dict[str, float], published: tuple[Certificate, ...]
) -> None:
    assert bundle_contents([NEW], [OLD], unknown_since, NOW, POLICY) == published


def test_what_has_expired_is_not_published() -> None:
    ended = authority("ended", NOW)
    assert bundle_contents([NEW, ended], [replace(ended, id="too")], {}, NOW, POLICY) == (NEW,)
    assert still_trusted([OLD], OLD.expires - 1) == (OLD,)


BY_OLD, BY_NEW = serving("old", NOW + 50), serving("new", NOW + 80)


@pytest.mark.parametrize(
    ("served", "published", "answer"),
    [
        pytest.param(None, {}, True, id="nothing is served"),
        pytest.param(BY_OLD, {"old": 0, "new": NOW - 4.9}, False, id="not published long enough"),
        pytest.param(BY_OLD, {"old": 0, "new": NOW - 5}, True, id="published long enough"),
        pytest.param(replace(BY_OLD, expires=NOW), {"old": 0}, True, id="ours has expired"),
        pytest.param(BY_OLD, {"new": NOW}, True, id="ours is trusted no more"),
        pytest.param(serving("new", NOW + 9), {"new": NOW}, True, id="the same authority"),
    ],
)
def test_a_replica_switches_when_the_other_authority_has_been_published_for_a_while(
    *, served: Certificate | None, published: dict[str, float], answer: bool
) -> None:
    assert may_serve(BY_NEW, served, published, NOW, POLICY) is answer


def test_the_policy_leaves_time_for_everything() -> None:
    policy = RotationPolicy()
    # A replica may notice another CA one read late, and then waits until it is known.
    assert policy.unknown_ca_ttl > 2 * policy.poll_interval + policy.propagation_delay
    assert policy.propagation_delay > policy.poll_interval
    # A certificate ends with its authority, which must not cut it short.
    assert policy.authority_lead > policy.serving_lifetime
    assert policy.serving_lifetime > policy.serving_lead > policy.propagation_delay
