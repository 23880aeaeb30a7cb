"""The rotation of the webhook's certificate authority (CA) and serving certificate.

kube-apiserver must trust a CA before and while a webhook serves a certificate of it. So a CA stays
trusted until it expires, and a webhook that serves switches to another CA only when that one has
been in `caBundle` for a while. Instants are epoch seconds, durations seconds.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class RotationPolicy:
    """Lifetimes of certificates, and the `lead` by which they are replaced before they expire."""

    authority_lifetime: float = 730 * _DAY
    authority_lead: float = 180 * _DAY
    serving_lifetime: float = 90 * _DAY
    serving_lead: float = 30 * _DAY
    # Until all API servers know a new CA. One with an older view cannot create pods either.
    propagation_delay: float = 300.0
    # For how long an unknown CA stays in `caBundle`. A replica switches to another CA in less time.
    unknown_ca_ttl: float = 900.0
    # Between two reads of the Secret and the webhook configuration.
    poll_interval: float = 30.0


@dataclass(frozen=True, slots=True)
class Certificate:
    """A CA or serving certificate. `id` is its SHA-256, `issuer` the id of the signing CA."""

    id: str
    issuer: str
    expires: float
    names: frozenset[str]
    pem: str


@dataclass(frozen=True, slots=True)
class CurrentCaBundles:
    """The PEM texts of a configuration, one for each of its webhooks, and its version."""

    bundles: tuple[str, ...]
    version: str
    webhooks: tuple[dict[str, Any], ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class CertificateSet:
    """All certificates of a Secret; the first CA signs."""

    authorities: tuple[Certificate, ...]
    serving: Certificate


class RotationStep(Enum):
    """The certificates to renew. Values are texts for a log."""

    KEEP = "nothing to do"
    # The CAs of before stay trusted.
    RENEW_ALL = "a new authority and a certificate of it"
    RENEW_SERVING = "a new certificate"


@dataclass(frozen=True, slots=True)
class RotationPlan:
    """A step, the names of the new serving certificate, and when to plan the next step."""

    step: RotationStep
    names: frozenset[str]
    due_at: float


def next_step(
    certificates: CertificateSet | None, names: frozenset[str], now: float, policy: RotationPolicy
) -> RotationPlan:
    """Plan the rotation of the certificates of a Secret, None if it has none that are usable."""
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
        # During an update replicas have two configurations, and must not renew alternately.
        return RotationPlan(RotationStep.RENEW_SERVING, names | serving.names, now)
    return RotationPlan(RotationStep.KEEP, names, min(renew_authority, renew_serving))


def still_trusted(authorities: Iterable[Certificate], now: float) -> tuple[Certificate, ...]:
    return tuple(authority for authority in authorities if authority.expires > now)


def first_seen(
    before: Mapping[str, float], present: Iterable[Certificate], now: float
) -> dict[str, float]:
    """Return since when each present certificate has been present, by id."""
    return {certificate.id: before.get(certificate.id, now) for certificate in present}


def bundle_contents(
    trusted: Iterable[Certificate],
    unknown: Iterable[Certificate],
    unknown_since: Mapping[str, float],
    now: float,
    policy: RotationPolicy,
) -> tuple[Certificate, ...]:
    """Return the CAs that kube-apiserver shall trust.

    `unknown` CAs are in `caBundle`, but not in the Secret, which may have been deleted or restored
    since, or be newer than our read. Other replicas may still serve certificates of them.
    """
    recent = [ca for ca in unknown if now - unknown_since.get(ca.id, now) < policy.unknown_ca_ttl]
    return (*still_trusted(trusted, now), *still_trusted(recent, now))


def may_serve(
    offered: Certificate,
    served: Certificate | None,
    trusted_since: Mapping[str, float],
    now: float,
    policy: RotationPolicy,
) -> bool:
    """Return whether to switch from the certificate `served`, None at the start, to `offered`."""
    if served is None or served.expires <= now or served.issuer not in trusted_since:
        return True  # kube-apiserver trusts no certificate in use
    since = trusted_since.get(offered.issuer, now)
    return served.issuer == offered.issuer or now - since >= policy.propagation_delay
