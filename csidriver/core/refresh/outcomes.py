"""The grant after a successful, failed or unknown token request (docs/protocol.md 4.5, 5)."""

import math
from dataclasses import replace

from csidriver.core.oauth.failure_reason import Consumption, FailureReason
from csidriver.core.oauth.issuers import UNLIMITED, Issuer
from csidriver.core.oauth.jwt import JwtClaims, unverified_claims
from csidriver.core.oauth.token_document import TokenDocument
from csidriver.core.oauth.token_response import Failure
from csidriver.core.refresh import messages, schedule
from csidriver.core.refresh.failures import FAILURE_RULES, RetryPolicy
from csidriver.core.refresh.grant import (
    MAX_SPENT,
    Grant,
    effective_lifetime,
    without_unsent_attempt,
)
from csidriver.core.refresh.login_expiry import refresh_expiry
from csidriver.core.status import Status, TokenWarning

# Seconds after the first and second unknown outcome, for issuers with a reuse window.
REPEAT_DELAYS = {1: 1.0, 2: 3.0}
# Seconds that the clocks of two machines may differ.
MAX_CLOCK_SKEW = 60.0
_COUNTED_BY_REASON = (RetryPolicy.THREE_QUICK, RetryPolicy.FIVE_QUICK, RetryPolicy.ONE_QUICK)


def after_success(
    grant: Grant, reply: TokenDocument, sent_at: float, issuer: Issuer, u: float
) -> Grant:
    """Return the grant with the tokens of a reply; a new refresh token is kept in any case.

    The lifetime counts from `sent_at`, so that it never ends later than the server says.
    `u` in [0, 1) spreads the next refresh.
    """
    bearer = reply.token_type.lower() == "bearer"
    access_token = reply.access_token if bearer else None
    claims = JwtClaims() if access_token is None else unverified_claims(access_token)
    stated_lifetime = schedule.token_lifetime(reply.number("expires_in"), claims, sent_at)
    lifetime = issuer.default_lifetime if stated_lifetime is None else stated_lifetime
    after = _with_reply(grant, reply, sent_at, sent_at + lifetime if access_token else None)
    if access_token is None:
        reason = FailureReason.BAD_REPLY if bearer else FailureReason.TOKEN_TYPE
        return _with_failure(after, Failure(reason), sent_at, issuer, u, Status.MISCONFIGURED)
    refresh_token_lifetime = max(0.0, after.refresh_expires_at - sent_at)
    return replace(
        after,
        issued_at=sent_at,
        expires_at=sent_at + lifetime,
        next_refresh=schedule.next_refresh_at(
            sent_at,
            lifetime,
            u=u,
            minimum=issuer.min_lead,
            refresh_token_lifetime=refresh_token_lifetime,
        ),
        status=Status.READY,
        message=messages.SCOPE_REFUSED_MESSAGE
        if _is_scope_refused(grant, issuer)
        else messages.READY_MESSAGE,
        warning=TokenWarning.DEFAULT_LIFETIME.value if stated_lifetime is None else "",
        failures=0,
        failure_reason=None,
        fingerprint="",
    )


def _with_reply(
    grant: Grant, reply: TokenDocument, sent_at: float, expires_at: float | None
) -> Grant:
    """Merge a reply. `expires_at` is None if its access token is not usable."""
    if expires_at is None:
        reply = reply.drop("access_token", "token_type", "expires_in")
    return replace(
        _with_refresh_token(grant, reply, sent_at),
        document=grant.document.merge(reply, expires_at),
        generation=grant.generation + 1,
        intent=None,
    )


def _with_refresh_token(grant: Grant, reply: TokenDocument, sent_at: float) -> Grant:
    """Move the replaced refresh token to `spent`.

    An issuer with a reuse window may return a spent token, which becomes the live one again.
    """
    expires_at, renewed = refresh_expiry(grant, reply, sent_at)
    after = replace(grant, refresh_expires_at=expires_at, refresh_renewed=renewed)
    token = reply.refresh_token
    if token is None or token.hash() == grant.live_hash:
        return after
    inherited = [h for h in grant.spent[: grant.inherited] if h != token.hash()]
    own = [h for h in (*grant.spent[grant.inherited :], grant.live_hash) if h != token.hash()]
    spent = (*inherited, *own)[-MAX_SPENT:]
    return replace(after, spent=spent, inherited=max(0, len(spent) - len(own)))


def without_refused_scope(grant: Grant, issuer: Issuer) -> Issuer:
    """Return the issuer without its scope if it has refused that for this grant."""
    return replace(issuer, scope="") if _is_scope_refused(grant, issuer) else issuer


def _is_scope_refused(grant: Grant, issuer: Issuer) -> bool:
    return bool(issuer.scope) and grant.refused_scope_fingerprint == issuer.fingerprint


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


def _is_configuration_failure(reason: FailureReason) -> bool:
    statuses = (Status.MISCONFIGURED, Status.CLIENT_REJECTED)
    return FAILURE_RULES[reason].status in statuses or reason is FailureReason.FORBIDDEN


def after_failure(grant: Grant, failed: Failure, now: float, issuer: Issuer, u: float) -> Grant:
    """Return the grant after a request without tokens. It keeps all tokens."""
    unknown = failed.reason.consumption is Consumption.UNKNOWN
    if unknown and issuer.reuse != UNLIMITED:
        return _after_unknown_outcome(grant, now, issuer, u)
    repeated = grant.intent is not None and grant.intent.attempt > 1
    final = (FailureReason.INVALID_GRANT, FailureReason.LOGIN_REQUIRED)
    if repeated and failed.reason not in final:
        return _after_inconclusive_repeat(grant, failed, now, issuer, u)
    if repeated and failed.reason is FailureReason.INVALID_GRANT:
        return replace(
            grant,
            intent=None,
            status=Status.LOST_ROTATION,
            message=messages.LOST_ROTATION_MESSAGE,
            next_refresh=None,
            failures=grant.failures + 1,
        )
    # An issuer with unlimited reuse spends no token.
    status = Status.ISSUER_UNAVAILABLE if unknown else FAILURE_RULES[failed.reason].status
    return _with_failure(replace(grant, intent=None), failed, now, issuer, u, status)


def _with_failure(
    grant: Grant, failed: Failure, now: float, issuer: Issuer, u: float, status: Status
) -> Grant:
    policy = FAILURE_RULES[failed.reason].retry_policy
    same_reason = grant.failure_reason is failed.reason
    # The quick attempts of a policy count failures of one reason, not an outage before them.
    failures = grant.failures + 1 if same_reason or policy not in _COUNTED_BY_REASON else 1
    # Only a repeated refusal confirms one; earlier failures of another reason prove nothing.
    counted = int(same_reason) + 1 if policy is RetryPolicy.ONCE_LATER else failures
    remaining = grant.expires_at - now
    lifetime = effective_lifetime(grant, issuer)
    delay = schedule.retry_delay(
        policy, counted, u=u, remaining=remaining, lifetime=lifetime, pause=failed.pause
    )
    has_scope = without_refused_scope(grant, issuer).scope != ""
    drops_scope = failed.reason is FailureReason.INVALID_SCOPE and has_scope
    if drops_scope:
        grant = replace(grant, refused_scope_fingerprint=issuer.fingerprint)
        delay = schedule.min_interval(lifetime)
    # A quick attempt may help, and the issuer may recover, before the access token expires.
    quick = drops_scope or (policy is RetryPolicy.ONE_QUICK and failures == 1)
    may_recover = quick or status is Status.ISSUER_UNAVAILABLE
    hidden = may_recover and remaining > schedule.lead_time(lifetime, issuer.min_lead) / 2
    return replace(
        grant,
        failures=failures,
        failure_reason=failed.reason,
        fingerprint=issuer.fingerprint,
        next_refresh=None if delay is None else now + delay,
        status=grant.status if hidden else status,
        message=grant.message if hidden else messages.FAILURE_MESSAGES[failed.reason],
    )


def _after_inconclusive_repeat(
    grant: Grant, failed: Failure, now: float, issuer: Issuer, u: float
) -> Grant:
    """Keep the earlier intent: the outcome of its request is still unknown."""
    earlier = without_unsent_attempt(grant)
    after = _with_failure(earlier, failed, now, issuer, u, Status.UNCERTAIN)
    return replace(after, message=messages.UNCERTAIN_MESSAGE)


def _after_unknown_outcome(grant: Grant, now: float, issuer: Issuer, u: float) -> Grant:
    """Keep the intent and schedule what the issuer allows: a repetition or an introspection."""
    next_refresh: float | None = None
    intent = grant.intent
    if intent is not None:
        repeat_at = now + REPEAT_DELAYS.get(intent.attempt, math.inf)
        lifetime = effective_lifetime(grant, issuer)
        delay = schedule.retry_delay(
            RetryPolicy.BACKOFF,
            intent.attempt,
            u=u,
            remaining=grant.expires_at - now,
            lifetime=lifetime,
        )
        if repeat_at < intent.first_at + issuer.reuse:
            next_refresh = repeat_at
        elif issuer.supports_introspection and delay is not None:
            next_refresh = now + delay
        elif intent.attempt <= 1:
            next_refresh = last_attempt_at(grant, now + schedule.min_interval(lifetime))
    return replace(
        grant,
        intent=None if intent is None else replace(intent, recorded=True),
        status=Status.UNCERTAIN,
        message=messages.UNCERTAIN_TWICE_MESSAGE
        if next_refresh is None
        else messages.UNCERTAIN_MESSAGE,
        next_refresh=next_refresh,
        failures=grant.failures + 1,
        failure_reason=None,
    )


def last_attempt_at(grant: Grant, earliest: float) -> float:
    """Return when to send a token that may be spent: late, so that the user can log in before."""
    return max(earliest, grant.expires_at - schedule.lead_time(grant.lifetime) / 4)
