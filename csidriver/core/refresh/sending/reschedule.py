"""The earlier attempts that a changed issuer, or a user's request, leads to (protocol 5)."""

from dataclasses import replace

from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.refresh import schedule
from csidriver.core.refresh.grant import Grant, effective_lifetime
from csidriver.core.refresh.transitions import FAILURE_RULES
from csidriver.core.status import Status

# Seconds that the clocks of two machines may differ.
MAX_CLOCK_SKEW = 60.0


def reschedule_if_obsolete(grant: Grant, issuer: Issuer, now: float) -> Grant:
    """Schedule an attempt soon if the operator changed the issuer, or the clock was far ahead."""
    if grant.next_refresh is None:
        return grant
    soon = now + schedule.min_interval(effective_lifetime(grant, issuer))
    if grant.failures == 0 and grant.issued_at > now + MAX_CLOCK_SKEW:
        return replace(grant, next_refresh=min(soon, grant.next_refresh))
    if grant.failure_reason is None or not _is_configuration_failure(grant.failure_reason):
        return grant
    if grant.fingerprint == issuer.fingerprint:
        return grant
    return replace(
        grant,
        fingerprint=issuer.fingerprint,
        failures=0,
        failure_reason=None,
        next_refresh=min(soon, grant.next_refresh),
    )


def reschedule_if_requested(grant: Grant, requested_at: float, now: float) -> Grant:
    """Schedule an attempt at once if the user asks for one, and has not with the same instant.

    A failing token keeps its backoff. One that is due soon is not written again for each request.
    """
    if requested_at in (0.0, grant.refresh_requested_at):
        return grant
    grant = replace(grant, refresh_requested_at=requested_at)
    least = schedule.min_interval(grant.lifetime)
    works = grant.status is Status.READY and grant.failures == 0
    if not works or grant.next_refresh is None or grant.next_refresh <= now + least:
        return grant
    return replace(grant, next_refresh=max(now, grant.issued_at + least))


def _is_configuration_failure(reason: FailureReason) -> bool:
    statuses = (Status.MISCONFIGURED, Status.CLIENT_REJECTED)
    return FAILURE_RULES[reason].status in statuses or reason is FailureReason.FORBIDDEN
