"""Decides when the webhook's authority and certificate are replaced, trusted, published and used.

kube-apiserver must trust an authority before anybody shows it a certificate of that authority, and
for as long as anybody does. So an authority stays trusted until it expires, and a process that
serves already goes over to another authority only when it has seen it published for a while.

Instants are epoch seconds, durations seconds.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class RotationPolicy:
    """How long things last.

    `authority_lead` and `serving_lead` say how long before its end a certificate is replaced.
    """

    authority_lifetime: float = 730 * _DAY
    authority_lead: float = 180 * _DAY
    serving_lifetime: float = 90 * _DAY
    serving_lead: float = 30 * _DAY
    # An API server whose view is older than that cannot create pods either.
    propagation_delay: float = 300.0
    # More than a process needs to notice another authority and to let it settle.
    unknown_ca_ttl: float = 900.0
    # Between two looks at Secret and configuration.
    poll_interval: float = 30.0


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate, of an authority or of a server.

    `id` is the SHA-256 of it, `issuer` the id of the authority that signed it.
    """

    id: str
    issuer: str
    expires: float
    names: frozenset[str]
    pem: str


@dataclass(frozen=True, slots=True)
class CertificateSet:
    """All certificates of a Secret; the first of the authorities is the one that signs."""

    authorities: tuple[Certificate, ...]
    serving: Certificate


class RotationStep(Enum):
    """What to do with a Secret, in words for a log."""

    KEEP = "nothing to do"
    # What was trusted before stays so.
    RENEW_ALL = "a new authority and a certificate of it"
    RENEW_SERVING = "a new certificate"


@dataclass(frozen=True, slots=True)
class RotationPlan:
    """A step, the names for the certificate that it makes, and when to ask for the next one."""

    step: RotationStep
    names: frozenset[str]
    due_at: float


def next_step(
    certificates: CertificateSet | None, names: frozenset[str], now: float, policy: RotationPolicy
) -> RotationPlan:
    """What a Secret with these certificates needs; None is one that holds nothing of use."""
    if certificates is None:
        return RotationPlan(RotationStep.RENEW_ALL, names, now)
    serving, signer = certificates.serving, certificates.authorities[0]
    renew_authority = signer.expires - policy.authority_lead
    renew_serving = serving.expires - policy.serving_lead
    if now >= renew_authority:
        return RotationPlan(RotationStep.RENEW_ALL, names, now)
    if now >= renew_serving or serving.issuer != signer.id:
        return RotationPlan(RotationStep.RENEW_SERVING, names, now)
    if not names <= serving.names:
        # Replicas of two configurations, during an update, must not take turns.
        return RotationPlan(RotationStep.RENEW_SERVING, names | serving.names, now)
    return RotationPlan(RotationStep.KEEP, names, min(renew_authority, renew_serving))


def still_trusted(authorities: Iterable[Certificate], now: float) -> tuple[Certificate, ...]:
    """Those that have not expired."""
    return tuple(authority for authority in authorities if authority.expires > now)


def first_seen(
    before: Mapping[str, float], present: Iterable[Certificate], now: float
) -> dict[str, float]:
    """Since when each of the certificates that are present has been, by id."""
    return {one.id: before.get(one.id, now) for one in present}


def to_publish(
    trusted: Iterable[Certificate],
    unknown: Iterable[Certificate],
    unknown_since: Mapping[str, float],
    now: float,
    policy: RotationPolicy,
) -> tuple[Certificate, ...]:
    """The authorities that kube-apiserver shall trust.

    `strangers` are published, but not in the Secret: it was deleted, restored, or is newer than
    our look at it. Others may serve certificates of theirs for a moment.
    """
    lingering = [
        stranger
        for stranger in unknown
        if stranger.expires > now
        and now - unknown_since.get(stranger.id, now) < policy.unknown_ca_ttl
    ]
    return (*still_trusted(trusted, now), *lingering)


def may_serve(
    offered: Certificate,
    served: Certificate | None,
    published_since: Mapping[str, float],
    now: float,
    policy: RotationPolicy,
) -> bool:
    """Whether to go over from the certificate that is served (None: none) to the one offered."""
    if served is None or served.expires <= now or served.issuer not in published_since:
        return True  # nothing to lose
    since = published_since.get(offered.issuer, now)
    return served.issuer == offered.issuer or now - since >= policy.propagation_delay
