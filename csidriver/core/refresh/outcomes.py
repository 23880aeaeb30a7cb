"""What an exchange does to a grant: tokens arrived, or did not (docs/protocol.md 4.5, 5)."""

import math
from dataclasses import replace

from csidriver.core.oauth.failure_reason import Consumption, FailureReason
from csidriver.core.oauth.issuers import UNLIMITED, Issuer
from csidriver.core.oauth.jwt import unverified_claims
from csidriver.core.oauth.token_document import TokenDocument
from csidriver.core.oauth.token_response import Failure
from csidriver.core.refresh import schedule
from csidriver.core.refresh.failures import FAILURE_RULES, RetryPolicy
from csidriver.core.refresh.grant import (
    MAX_SPENT,
    Grant,
    effective_lifetime,
    without_unsent_attempt,
)
from csidriver.core.refresh.login_expiry import refresh_expiry
from csidriver.core.refresh.messages import (
    LOST_ROTATION_MESSAGE,
    READY_MESSAGE,
    SCOPE_REFUSED_MESSAGE,
    UNCERTAIN_MESSAGE,
    UNCERTAIN_TWICE_MESSAGE,
)
from csidriver.core.status import Status, TokenWarning

# Seconds after the first and second unknown outcome, where the server tolerates repetitions.
REPEAT_DELAYS = {1: 1.0, 2: 3.0}
# Seconds by which the clocks of two machines may differ without harm.
MAX_CLOCK_SKEW = 60.0
_COUNTED_BY_REASON = (RetryPolicy.THREE_QUICK, RetryPolicy.FIVE_QUICK, RetryPolicy.ONE_QUICK)


def after_success(
    grant: Grant, reply: TokenDocument, sent_at: float, issuer: Issuer, u: float
) -> Grant:
    """The grant after tokens arrived. A new refresh token is kept whatever is wrong with the rest.

    `sent_at` is the instant before sending, so that expiry is never later than the server's;
    `u` in [0, 1) spreads the next refresh.
    """
    bearer = reply.token_type.lower() == "bearer"
    fresh = reply.access_token if bearer else None
    said = unverified_claims(fresh) if fresh is not None else None
    life = schedule.token_lifetime(
        reply.number("expires_in"), said.iat if said else None, said.exp if said else None
    )
    assumed = life is None
    life = issuer.default_lifetime if life is None else life
    after = _with_reply(grant, reply, sent_at, sent_at + life if fresh else None)
    if fresh is None:
        signal = FailureReason.BAD_REPLY if bearer else FailureReason.TOKEN_TYPE
        return _with_failure(after, Failure(signal), sent_at, issuer, u, Status.MISCONFIGURED)
    ends = after.refresh_expires_at
    return replace(
        after,
        issued_at=sent_at,
        expires_at=sent_at + life,
        next_refresh=schedule.next_refresh_at(
            sent_at,
            life,
            u=u,
            minimum=issuer.min_lead,
            refresh_token_lifetime=max(0.0, ends - sent_at) if ends else 0.0,
        ),
        status=Status.READY,
        message=SCOPE_REFUSED_MESSAGE if _is_scope_refused(grant, issuer) else READY_MESSAGE,
        warning=TokenWarning.DEFAULT_LIFETIME.value if assumed else "",
        failures=0,
        failure_reason=None,
        fingerprint="",
    )


def _with_reply(grant: Grant, reply: TokenDocument, sent_at: float, expiry: float | None) -> Grant:
    """The grant with what a reply brought; `expiry` is None if its access token is of no use."""
    usable = expiry is not None
    kept = reply if usable else reply.drop("access_token", "token_type", "expires_in")
    return replace(
        _with_refresh_token(grant, reply, sent_at),
        document=grant.document.merge(kept, expiry),
        generation=grant.generation + 1,
        intent=None,
    )


def _with_refresh_token(grant: Grant, reply: TokenDocument, sent_at: float) -> Grant:
    """What a reply says about refresh tokens: which was replaced, and when the live one ends.

    A server with a grace window may hand out again one that was replaced.
    """
    ends, renewed = refresh_expiry(grant, reply, sent_at)
    after = replace(grant, refresh_expires_at=ends, refresh_renewed=renewed)
    fresh = reply.refresh_token
    if fresh is None or fresh.hash() == grant.live_hash:
        return after
    earlier = [h for h in grant.spent[: grant.inherited] if h != fresh.hash()]
    own = [h for h in (*grant.spent[grant.inherited :], grant.live_hash) if h != fresh.hash()]
    spent = (*earlier, *own)[-MAX_SPENT:]
    return replace(after, spent=spent, inherited=max(0, len(spent) - len(own)))


def without_refused_scope(grant: Grant, issuer: Issuer) -> Issuer:
    """The issuer as a request for this grant needs it: less a scope that it has refused."""
    return replace(issuer, scope="") if _is_scope_refused(grant, issuer) else issuer


def _is_scope_refused(grant: Grant, issuer: Issuer) -> bool:
    return bool(issuer.scope) and grant.refused_scope_fingerprint == issuer.fingerprint


def reschedule_if_obsolete(grant: Grant, issuer: Issuer, now: float) -> Grant:
    """The grant with an attempt planned soon if its plan rests on what is no longer the case.

    That is an issuer configured otherwise than when it refused, or a clock that was far ahead.
    """
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


def _is_configuration_failure(signal: FailureReason) -> bool:
    """Whether the operator of the issuer may have caused this, and may have mended it."""
    status = FAILURE_RULES[signal].status
    mended = (Status.MISCONFIGURED, Status.CLIENT_REJECTED)
    return status in mended or signal is FailureReason.FORBIDDEN


def after_failure(grant: Grant, failed: Failure, now: float, issuer: Issuer, u: float) -> Grant:
    """The grant after an exchange without tokens. Nothing is ever deleted here."""
    if failed.consumption is Consumption.UNKNOWN and issuer.reuse != UNLIMITED:
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
            message=LOST_ROTATION_MESSAGE,
            next_refresh=None,
            failures=grant.failures + 1,
        )
    status = FAILURE_RULES[failed.reason].status
    if (
        failed.consumption is Consumption.UNKNOWN
    ):  # the server never rotates: nothing can have been spent
        status = Status.ISSUER_UNAVAILABLE
    return _with_failure(replace(grant, intent=None), failed, now, issuer, u, status)


def _with_failure(
    grant: Grant, failed: Failure, now: float, issuer: Issuer, u: float, status: Status
) -> Grant:
    meaning = FAILURE_RULES[failed.reason]
    alike = grant.failure_reason is failed.reason
    # "A few quick tries" counts tries that ended alike, not an outage before them.
    failures = grant.failures + 1 if alike or meaning.retry_policy not in _COUNTED_BY_REASON else 1
    # Only a repeated refusal confirms one; failures of another kind before it prove nothing.
    counted = int(alike) + 1 if meaning.retry_policy is RetryPolicy.ONCE_LATER else failures
    remaining = grant.expires_at - now
    life = effective_lifetime(grant, issuer)
    wait = schedule.retry_delay(
        meaning.retry_policy, counted, u=u, remaining=remaining, lifetime=life, pause=failed.pause
    )
    unscoping = (
        failed.reason is FailureReason.INVALID_SCOPE
        and without_refused_scope(grant, issuer).scope != ""
    )
    if unscoping:
        grant, wait = (
            replace(grant, refused_scope_fingerprint=issuer.fingerprint),
            schedule.min_interval(life),
        )
    # A first look at what may have moved, and trouble of the issuer, concern the user only when
    # the token in hand runs short.
    first = unscoping or (meaning.retry_policy is RetryPolicy.ONE_QUICK and failures == 1)
    minor = first or status is Status.ISSUER_UNAVAILABLE
    hidden = minor and remaining > schedule.lead_time(life, issuer.min_lead) / 2
    return replace(
        grant,
        failures=failures,
        failure_reason=failed.reason,
        fingerprint=issuer.fingerprint,
        next_refresh=None if wait is None else now + wait,
        status=grant.status if hidden else status,
        message=grant.message if hidden else meaning.message,
    )


def _after_inconclusive_repeat(
    grant: Grant, failed: Failure, now: float, issuer: Issuer, u: float
) -> Grant:
    """A repetition that proved nothing does not count; what the first send did is still unknown."""
    waiting = _with_failure(without_unsent_attempt(grant), failed, now, issuer, u, Status.UNCERTAIN)
    return replace(waiting, message=UNCERTAIN_MESSAGE)


def _after_unknown_outcome(grant: Grant, now: float, issuer: Issuer, u: float) -> Grant:
    """Keep the intent, plan the one more presentation that the issuer tolerates (section 4).

    Where the server can be asked about the token it is asked soon; `doubt` says what follows.
    """
    again: float | None = None
    intent = grant.intent
    if intent is not None:
        planned = now + REPEAT_DELAYS.get(intent.attempt, math.inf)
        life = effective_lifetime(grant, issuer)
        ask = schedule.retry_delay(
            RetryPolicy.BACKOFF,
            intent.attempt,
            u=u,
            remaining=grant.expires_at - now,
            lifetime=life,
            pause=None,
        )
        if planned < intent.first_at + issuer.reuse:
            again = planned
        elif issuer.supports_introspection and ask is not None:
            again = now + ask
        elif intent.attempt <= 1:
            again = last_attempt_at(grant, now + schedule.min_interval(life))
    return replace(
        grant,
        intent=None if intent is None else replace(intent, recorded=True),
        status=Status.UNCERTAIN,
        message=UNCERTAIN_TWICE_MESSAGE if again is None else UNCERTAIN_MESSAGE,
        next_refresh=again,
        failures=grant.failures + 1,
        failure_reason=None,
    )


def last_attempt_at(grant: Grant, soonest: float) -> float:
    """When a token that may be spent is presented blindly: late, a human may reseed till then."""
    return max(soonest, grant.expires_at - schedule.lead_time(grant.lifetime) / 4)
