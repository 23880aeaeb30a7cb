"""The grant after an outcome without tokens, as `transitions` says (docs/protocol.md 5, 6)."""

import math
from dataclasses import replace

from csidriver.core.backoff import stable_jitter
from csidriver.core.oauth.failure_reason import Consumption, FailureReason
from csidriver.core.oauth.issuers import UNLIMITED, Issuer
from csidriver.core.oauth.token_response import Failure
from csidriver.core.refresh import messages, schedule
from csidriver.core.refresh.grant import (
    Grant,
    Intent,
    effective_lifetime,
    is_scope_refused,
    without_unsent_attempt,
)
from csidriver.core.refresh.transitions import (
    FAILURE_RULES,
    TRANSITIONS,
    Moment,
    NextIntent,
    Outcome,
    RetryPolicy,
    Sent,
)
from csidriver.core.status import Status

# Seconds after the first and second unknown outcome, for issuers with a reuse window.
REPEAT_DELAYS = {1: 1.0, 2: 3.0}
# Seconds from the end of the wait for a late reply until something else is done.
LATE_MARGIN = 1.0
# Seconds; the status does not mention a shorter pause of the issuer.
LONG_PAUSE = 5.0
# Seconds of the same answer after which a gateway's is believed to be there to stay.
PERMANENT_AFTER = 600.0
OF_GATEWAYS = frozenset(
    {
        FailureReason.REDIRECT,
        FailureReason.NO_ENDPOINT,
        FailureReason.FORBIDDEN,
        FailureReason.NO_OAUTH_ERROR,
    }
)


def after_failure(grant: Grant, failure: Failure, now: float, issuer: Issuer) -> Grant:
    """Return the grant after a request without tokens. It keeps all tokens."""
    return after_outcome(grant, _outcome(grant, failure, now, issuer), now, issuer, failure)


def _outcome(grant: Grant, failure: Failure, now: float, issuer: Issuer) -> Outcome:
    reason, intent = failure.reason, grant.intent
    if reason.consumption is Consumption.UNKNOWN:
        if intent is None or issuer.reuse == UNLIMITED:
            return Outcome.UNKNOWN
        if is_reusable(grant, issuer, now + REPEAT_DELAYS.get(intent.attempt, 0.0)):
            return Outcome.REUSABLE
        return Outcome.ASKABLE if issuer.supports_introspection else Outcome.UNKNOWN
    if reason not in (FailureReason.LOGIN_REQUIRED, FailureReason.INVALID_GRANT):
        return Outcome.FAILED
    return _refused_outcome(grant, reason, now)


def _refused_outcome(grant: Grant, reason: FailureReason, now: float) -> Outcome:
    if grant.grant_type.is_repeatable:
        return Outcome.SUBJECT_REFUSED if grant.login else Outcome.CLIENT_REFUSED
    if reason is FailureReason.LOGIN_REQUIRED:
        return Outcome.LOGIN_REQUIRED
    again = grant.failure_reason is reason
    return refusal(grant, Outcome.REFUSED_AGAIN if again else Outcome.REFUSED, now)


def refusal(grant: Grant, outcome: Outcome, now: float) -> Outcome:
    """Return LOGIN_OVER instead of `outcome` once the announced end of the login has passed."""
    return Outcome.LOGIN_OVER if 0 < grant.refresh_expires_at <= now else outcome


def after_outcome(
    grant: Grant, outcome: Outcome, now: float, issuer: Issuer, failure: Failure | None = None
) -> Grant:
    """Return the grant as the table demands; `failure` is that of a token request."""
    row = TRANSITIONS[sent(grant, issuer), outcome]
    reason = grant.failure_reason if failure is None else failure.reason
    same_reason = reason is grant.failure_reason and grant.failing_since > 0
    after = replace(
        grant,
        intent=_next_intent(grant, row.intent),
        failures=grant.failures + 1,
        failing_since=grant.failing_since if same_reason else now,
        failure_reason=reason,
        fingerprint=grant.fingerprint if failure is None else issuer.fingerprint,
    )
    following = row.next or _retry_policy(after, now)
    next_refresh = _next_attempt(after, following, failure, now, issuer)
    if failure is not None and failure.awaited > 0 and next_refresh is not None:
        next_refresh = max(next_refresh, now + failure.awaited + LATE_MARGIN)
    after = replace(after, next_refresh=next_refresh)
    drops_scope = reason is FailureReason.INVALID_SCOPE and not is_scope_refused(grant, issuer)
    if drops_scope and issuer.scope and not grant.grant_type.is_repeatable:
        soon = now + schedule.min_interval(effective_lifetime(grant, issuer))
        after = replace(after, refused_scope_fingerprint=issuer.fingerprint, next_refresh=soon)
        following = RetryPolicy.TRANSIENT
    may_recover = following in (RetryPolicy.TRANSIENT, RetryPolicy.RETRY_AFTER)
    if row.status in (None, Status.ISSUER_UNAVAILABLE) and may_recover:
        # Users need not know while the access token has time.
        return after if now < _reveal_at(after, issuer) else _with_status(after, None, following)
    return _with_status(after, row.status, following)


def sent(grant: Grant, issuer: Issuer) -> Sent:
    """Return how the live refresh token was sent last."""
    intent = grant.intent
    if intent is None or issuer.reuse == UNLIMITED:
        return Sent.NONE
    if intent.attempt <= 1:
        return Sent.FIRST
    in_window = intent.started_at < intent.first_at + issuer.reuse
    may_be_repeated = intent.attempt <= 1 + len(REPEAT_DELAYS)
    return Sent.REUSE if in_window and may_be_repeated else Sent.REPEAT


def is_reusable(grant: Grant, issuer: Issuer, at: float) -> bool:
    """Return True if the token may be sent again at an instant although it may be spent.

    Within its reuse window the issuer accepts a spent token and returns the new one.
    """
    intent = grant.intent
    if intent is None or intent.attempt not in REPEAT_DELAYS:
        return False
    return at < intent.first_at + issuer.reuse


def _next_intent(grant: Grant, following: NextIntent) -> Intent | None:
    if following is NextIntent.EARLIER:
        return without_unsent_attempt(grant).intent
    if following is NextIntent.NONE or grant.intent is None:
        return None
    return replace(grant.intent, recorded=True)


def _retry_policy(grant: Grant, now: float) -> RetryPolicy:
    if grant.failure_reason in OF_GATEWAYS and now >= grant.failing_since + PERMANENT_AFTER:
        return RetryPolicy.SLOW
    return FAILURE_RULES[_reason(grant)].retry_policy


def _next_attempt(
    grant: Grant,
    following: RetryPolicy | Moment,
    failure: Failure | None,
    now: float,
    issuer: Issuer,
) -> float | None:
    lifetime = effective_lifetime(grant, issuer)
    u = stable_jitter(f"{grant.source_uid}/{grant.failures}", grant.generation)
    delay = schedule.transient_delay(grant.failures, u, grant.expires_at - now, lifetime)
    match following:
        case RetryPolicy.STOP:
            return None
        case RetryPolicy.SLOW:
            return now + schedule.slow_delay(now - grant.failing_since)
        case RetryPolicy.RETRY_AFTER:
            pause = None if failure is None else failure.pause
            return now + max(delay, min(max(pause or 0.0, 1.0), 3600.0))
        case Moment.SOON if grant.intent is not None:
            return now + REPEAT_DELAYS[grant.intent.attempt]
        case Moment.LATE:
            return last_attempt_at(grant, now + schedule.min_interval(lifetime))
    return now + delay


def last_attempt_at(grant: Grant, earliest: float) -> float:
    """Return when to send a token that may be spent: late, so that the user can log in before."""
    return max(earliest, grant.expires_at - schedule.lead_time(grant.lifetime) / 4)


def _reason(grant: Grant) -> FailureReason:
    return grant.failure_reason or FailureReason.NO_ANSWER


def _with_status(grant: Grant, status: Status | None, following: RetryPolicy | Moment) -> Grant:
    """Return the grant with a status and its message, by default those of its failure."""
    reason = _reason(grant)
    if status is Status.UNCERTAIN:
        stops = following is RetryPolicy.STOP
        message = messages.UNCERTAIN_TWICE_MESSAGE if stops else messages.UNCERTAIN_MESSAGE
    elif status is Status.LOST_ROTATION:
        message = messages.LOST_ROTATION_MESSAGE
    elif status is Status.NEEDS_REAUTH and reason is not FailureReason.LOGIN_REQUIRED:
        message = messages.FAILURE_MESSAGES[FailureReason.INVALID_GRANT]
    else:
        message = messages.failure_message(reason, grant.grant_type)
    return replace(grant, status=status or FAILURE_RULES[reason].status, message=message)


def _reveal_at(grant: Grant, issuer: Issuer) -> float:
    """Return when users must know that the refresh fails, or that it is late."""
    lead = schedule.lead_time(effective_lifetime(grant, issuer), issuer.min_lead)
    if grant.failure_reason is None:
        # A probe and a request that begin before this end before the access token expires.
        lead = min(lead, max(lead / 2, 4 * schedule.MIN_TIMEOUT))
    return grant.expires_at - lead / 2


def with_status_due(grant: Grant, issuer: Issuer, now: float) -> Grant:
    """Return the grant with another status than Ready once that would be a lie."""
    if grant.status is not Status.READY or now < _reveal_at(grant, issuer):
        return grant
    if grant.failure_reason is not None:
        return _with_status(grant, None, RetryPolicy.TRANSIENT)
    return replace(grant, status=Status.ISSUER_UNAVAILABLE, message=messages.DELAYED_MESSAGE)


def status_due_at(grant: Grant, issuer: Issuer) -> float | None:
    """Return when `with_status_due` changes the status (epoch seconds), None if it does not."""
    return _reveal_at(grant, issuer) if grant.status is Status.READY else None


def delayed_by_limit(grant: Grant, pause: float, now: float, issuer: Issuer) -> Grant:
    """Return the grant with a status for the pause if its access token expires soon."""
    lead = schedule.lead_time(effective_lifetime(grant, issuer))
    expires_soon = grant.expires_at - now < lead / 2
    works = grant.status in (Status.READY, Status.PENDING)
    if not (expires_soon and works and LONG_PAUSE < pause < math.inf):
        return grant
    return replace(grant, status=Status.ISSUER_UNAVAILABLE, message=messages.DELAYED_MESSAGE)
