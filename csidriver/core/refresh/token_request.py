"""One request for new tokens: intent, spool, send, spool, commit (docs/protocol.md 4).

The order makes a crash at any point recoverable. `outcomes` decides what an outcome means.
"""

import contextlib
from dataclasses import dataclass, replace

from csidriver.core import backoff
from csidriver.core.oauth.failure_reason import Consumption, FailureReason
from csidriver.core.oauth.issuers import UNLIMITED, Issuer
from csidriver.core.oauth.token_response import Success, TokenResponse
from csidriver.core.refresh import effects, schedule
from csidriver.core.refresh.commit import commit, store_grant
from csidriver.core.refresh.grant import Grant, effective_lifetime, with_intent
from csidriver.core.refresh.introspect import check_before_sending
from csidriver.core.refresh.outcomes import after_failure, after_success, without_refused_scope
from csidriver.core.refresh.state import Effects, RefreshContext, TokenState
from csidriver.core.sensitive import Sensitive
from csidriver.errors import DriverError, SpoolFailed


@dataclass(frozen=True, slots=True)
class _WrittenIntent:
    """A stored intent that is young enough to send; with `reuse: unlimited` only its nonce."""

    grant: Grant
    nonce: str


def request_token(
    state: TokenState, grant: Grant, token: Sensitive, issuer: Issuer, context: RefreshContext
) -> Effects[TokenState]:
    """Write the intent, send the refresh token, store the outcome.

    Uses the send slot of AcquireSendSlot, or releases it. Raises StoreConflict only before sending.
    """
    attempt = None
    try:
        now = yield from effects.Now()
        state, may_send = yield from check_before_sending(state, grant, token, issuer, context, now)
        if may_send:
            state, attempt = yield from _write_intent(state, grant, now, issuer, context)
    except DriverError:
        yield from effects.ReleaseSendSlot(issuer, state.ref)
        raise
    if attempt is None:
        yield from effects.ReleaseSendSlot(issuer, state.ref)
        return state
    return (yield from _send(state, attempt, token, issuer, context))


def _write_intent(
    state: TokenState, grant: Grant, now: float, issuer: Issuer, context: RefreshContext
) -> Effects[tuple[TokenState, _WrittenIntent | None]]:
    """Store the intent and spool its nonce; return no attempt if that took too long."""
    takeover_after = schedule.takeover_after(
        effective_lifetime(grant, issuer), context.timeouts, issuer.min_lead
    )
    started = yield from effects.Monotonic()
    nonce = yield from effects.Nonce()
    if issuer.reuse != UNLIMITED:
        grant = with_intent(grant, nonce, context.holder, now, takeover_after)
        state = yield from store_grant(state, grant)
    yield from effects.SpoolWrite(state.ref, effects.SpoolEntry(nonce, now, None))
    if (yield from effects.Monotonic()) - started > takeover_after / 4:
        # Another replica may soon take the intent over: write a new one instead of sending.
        yield from effects.SpoolClear(state.ref)
        return replace(state, requeue_at=now), None
    return state, _WrittenIntent(grant, nonce)


def _send(
    state: TokenState,
    attempt: _WrittenIntent,
    token: Sensitive,
    issuer: Issuer,
    context: RefreshContext,
) -> Effects[TokenState]:
    grant = attempt.grant
    timeout = schedule.http_timeout(
        effective_lifetime(grant, issuer), context.timeouts, issuer.min_lead
    )
    sent_at = yield from effects.Now()
    scoped = without_refused_scope(grant, issuer)
    outcome = yield from effects.RequestToken(scoped, grant.client, token, timeout)
    # The commit below is what counts: the spool only covers a crash before it.
    with contextlib.suppress(SpoolFailed):
        if isinstance(outcome, Success):
            entry = effects.SpoolEntry(attempt.nonce, sent_at, outcome.reply, grant.live_hash)
            yield from effects.SpoolWrite(state.ref, entry)
        elif outcome.reason.consumption is not Consumption.UNKNOWN:
            # Recovery reads an intent without a spool entry as not sent.
            yield from effects.SpoolClear(state.ref)
    return (yield from store_outcome(state, grant, outcome, sent_at, issuer))


def store_outcome(
    state: TokenState, grant: Grant, outcome: TokenResponse, sent_at: float, issuer: Issuer
) -> Effects[TokenState]:
    """Store the outcome of a request that was sent at `sent_at` (epoch seconds)."""
    if isinstance(outcome, Success):
        u = backoff.stable_jitter(grant.source_uid, grant.generation + 1)
        after = after_success(grant, outcome.reply, sent_at, issuer, u)
        return (yield from commit(replace(state, spooled=True), grant, after))
    now = yield from effects.Now()
    u = backoff.stable_jitter(f"{grant.source_uid}/{grant.failures}", grant.generation)
    state = yield from commit(state, grant, after_failure(grant, outcome, now, issuer, u))
    if outcome.reason is FailureReason.INVALID_GRANT:
        # The user may have put a new token into the source in the meantime.
        state = replace(state, source_stale=True, requeue_at=now)
    return state
