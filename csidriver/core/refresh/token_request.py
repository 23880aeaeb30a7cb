"""One refresh of a token: recover, check, write the intent, send, store (docs/protocol.md 4).

The order makes a crash at any point recoverable. `transitions` says what an outcome means.
"""

import contextlib
import math
from dataclasses import replace

from csidriver.core.oauth.failure_reason import Consumption, FailureReason
from csidriver.core.oauth.issuers import UNLIMITED, Issuer
from csidriver.core.oauth.token_response import Failure, Success, TokenResponse
from csidriver.core.refresh import effects, grant_secret, schedule
from csidriver.core.refresh.commit import commit
from csidriver.core.refresh.grant import (
    Grant,
    Intent,
    effective_lifetime,
    sendable_refresh_token,
    with_intent,
    without_refused_scope,
    without_unsent_attempt,
)
from csidriver.core.refresh.introspect import check_before_sending
from csidriver.core.refresh.new_tokens import after_success
from csidriver.core.refresh.outcomes import after_failure, delayed_by_limit
from csidriver.core.refresh.ownership import check_duplicates
from csidriver.core.refresh.source import Client
from csidriver.core.refresh.state import Effects, RefreshContext, TokenState
from csidriver.core.sensitive import Sensitive
from csidriver.core.status import Status
from csidriver.errors import DriverError, SpoolFailed

# Seconds until the next check if this process may not send now: it stops, or is not the leader.
RECHECK = 1.0


def refresh_if_due(
    state: TokenState, issuer: Issuer, context: RefreshContext
) -> Effects[TokenState]:
    """Send the refresh token if that is due, permitted and not already done."""
    state = yield from recover(state, issuer, context)
    state = yield from check_duplicates(state)
    now = yield from effects.Now()
    if state.grant is None or state.grant_stale:
        return state
    grant = schedule.reschedule_if_obsolete(state.grant, issuer, now)
    state = replace(state, grant=grant)
    token = sendable_refresh_token(grant)
    is_due = grant.next_refresh is not None and grant.next_refresh <= now
    if token is None or not is_due or state.requeue_at is not None:
        return state
    state = yield from acquire_slot(state, grant, issuer, grant.client, now)
    if state.requeue_at is not None:
        return state
    nonce = None
    try:
        may_send = True
        if needs_check(grant, issuer):
            state, may_send = yield from check_before_sending(
                state, grant, token, issuer, context, now
            )
        if may_send:
            state, grant, nonce = yield from _write_intent(state, grant, now, issuer, context)
    except DriverError:
        yield from effects.ReleaseSendSlot(issuer, state.ref)
        raise
    if nonce is None:
        yield from effects.ReleaseSendSlot(issuer, state.ref)
        return state
    return (yield from _send(state, grant, nonce, token, issuer, context))


def acquire_slot(
    state: TokenState, grant: Grant, issuer: Issuer, client: Client, now: float
) -> Effects[TokenState]:
    """Acquire a slot; without one, return the state with `requeue_at`, when to ask again."""
    pause = yield from effects.AcquireSendSlot(issuer, state.ref, client)
    if pause <= 0:
        return state
    grant = delayed_by_limit(grant, pause, now, issuer)
    requeue_at = now + (pause if math.isfinite(pause) else RECHECK)
    return replace(state, grant=grant, requeue_at=requeue_at)


def needs_check(grant: Grant, issuer: Issuer) -> bool:
    """Return True if the token may be spent already, or is probably invalid."""
    intent = grant.intent
    if intent is not None and intent.refresh_token_hash == grant.live_hash:
        return issuer.reuse != UNLIMITED
    return grant.status is Status.NEEDS_REAUTH


def _write_intent(
    state: TokenState, grant: Grant, now: float, issuer: Issuer, context: RefreshContext
) -> Effects[tuple[TokenState, Grant, str | None]]:
    """Store the intent and spool its nonce; return no nonce if that took too long to send.

    `reuse: unlimited` needs no intent.
    """
    takeover_after = schedule.takeover_after(
        effective_lifetime(grant, issuer), context.timeouts, issuer.min_lead
    )
    started = yield from effects.Monotonic()
    nonce = yield from effects.Nonce()
    if issuer.reuse != UNLIMITED:
        grant = with_intent(grant, nonce, context.holder, now, takeover_after)
        patch = grant_secret.to_patch(grant)
        state = state.with_grant((yield from effects.PatchSecret(state.stored(), patch)), grant)
    yield from effects.SpoolWrite(state.ref, effects.SpoolEntry(nonce, now, None))
    if (yield from effects.Monotonic()) - started > takeover_after / 4:
        # Another replica may soon take the intent over: write a new one instead of sending.
        yield from effects.SpoolClear(state.ref)
        return replace(state, requeue_at=now), grant, None
    return state, grant, nonce


def _send(
    state: TokenState,
    grant: Grant,
    nonce: str,
    token: Sensitive,
    issuer: Issuer,
    context: RefreshContext,
) -> Effects[TokenState]:
    lifetime = effective_lifetime(grant, issuer)
    timeout = schedule.http_timeout(lifetime, context.timeouts, issuer.min_lead)
    sent_at = yield from effects.Now()
    outcome = yield from effects.RequestToken(
        without_refused_scope(grant, issuer),
        grant.client,
        token,
        timeout,
        schedule.late_timeout(
            timeout,
            grant.expires_at - sent_at,
            lifetime,
            issuer.reuse,
            can_ask=issuer.supports_introspection,
        ),
        state.ref,
        nonce,
    )
    if isinstance(outcome, Success):
        entry = effects.SpoolEntry(nonce, sent_at, outcome.reply, grant.live_hash)
        yield from effects.SpoolWrite(state.ref, entry)
    elif outcome.reason.consumption is not Consumption.UNKNOWN:
        # Recovery reads an intent without a spool entry as not sent.
        with contextlib.suppress(SpoolFailed):
            yield from effects.SpoolClear(state.ref)
    return (yield from _store_outcome(state, grant, outcome, sent_at, issuer))


def _store_outcome(
    state: TokenState, grant: Grant, outcome: TokenResponse, sent_at: float, issuer: Issuer
) -> Effects[TokenState]:
    """Store the outcome of a request that was sent at `sent_at` (epoch seconds)."""
    if isinstance(outcome, Success):
        after = after_success(grant, outcome.reply, sent_at, issuer)
        return (yield from commit(replace(state, spooled=True), grant, after))
    now = yield from effects.Now()
    state = yield from commit(state, grant, after_failure(grant, outcome, now, issuer))
    if outcome.reason is FailureReason.INVALID_GRANT:
        # The user may have put a new token into the source in the meantime.
        state = replace(state, source_stale=True, requeue_at=now)
    return state


def recover_own(state: TokenState, issuer: Issuer, context: RefreshContext) -> Effects[TokenState]:
    """Store what this process knows of a token request, for a token that it must not send."""
    intent = None if state.grant is None else state.grant.intent
    if intent is None or intent.recorded or intent.holder == context.holder:
        state = yield from recover(state, issuer, context)
    if state.spooled:
        yield from effects.SpoolClear(state.ref)
    return replace(state, spooled=False)


def recover(state: TokenState, issuer: Issuer, context: RefreshContext) -> Effects[TokenState]:
    """Store the outcome of a token request that was not stored, or not in time (protocol 4.2).

    - a reply in the spool to the live token is the outcome, whatever others have stored;
    - an intent of another replica: wait for `takeover_after`, then the outcome is unknown;
    - own intent without a spool entry of its nonce: the token was not sent;
    - own intent with the nonce only, or unreadable for `takeover_after`: the outcome is unknown.
    """
    grant = state.grant
    if grant is None or grant.grant_type.is_repeatable:
        return state
    intent = grant.intent
    late = yield from effects.TakeLateReply(state.ref)
    if late is not None and late.refresh_token_hash == grant.live_hash:
        yield from effects.SpoolWrite(state.ref, late)
    entry, unreadable = None, False
    try:
        entry = yield from effects.SpoolRead(state.ref)
    except SpoolFailed:
        unreadable = True
    if entry is not None and entry.reply is not None:
        token = entry.reply.refresh_token
        new_hash = entry.refresh_token_hash if token is None else token.hash()
        is_new = new_hash != grant.live_hash or entry.sent_at > grant.issued_at
        if is_new and entry.refresh_token_hash == grant.live_hash:
            reply = Success(entry.reply)
            return (yield from _store_outcome(state, grant, reply, entry.sent_at, issuer))
        if new_hash == grant.live_hash or entry.refresh_token_hash in grant.spent:
            state = replace(state, spooled=True)  # it is stored, or another one has replaced it
    if intent is None or intent.recorded or intent.refresh_token_hash != grant.live_hash:
        if entry is not None and entry.reply is None:
            state = replace(state, spooled=True)  # its outcome is stored
        return state
    is_sent = None if unreadable else entry is not None and entry.nonce == intent.nonce
    return (yield from _recover_intent(state, grant, intent, is_sent, issuer, context))


def _recover_intent(
    state: TokenState,
    grant: Grant,
    intent: Intent,
    is_sent: bool | None,  # noqa: FBT001 - None if the spool does not tell
    issuer: Issuer,
    context: RefreshContext,
) -> Effects[TokenState]:
    now = yield from effects.Now()
    age = yield from _intent_age(state, intent, now)
    remaining = intent.takeover_after - age
    if intent.holder != context.holder:
        if remaining > 0:
            return replace(state, requeue_at=now + remaining)
        # Convert the times of the other replica's clock to this one's.
        first_at = now - age - (intent.started_at - intent.first_at)
        grant = replace(grant, intent=replace(intent, first_at=first_at))
    elif is_sent is None and remaining > 0:
        raise SpoolFailed("the spool cannot be read")
    elif is_sent is False:
        return replace(state, grant=without_unsent_attempt(grant))
    unknown = Failure(FailureReason.NO_ANSWER)
    return (yield from _store_outcome(state, grant, unknown, now, issuer))


def _intent_age(state: TokenState, intent: Intent, now: float) -> Effects[float]:
    """Return seconds, by the backend's clock at the read and the monotonic clock since then."""
    age_at_read = None if state.grant_secret is None else state.grant_secret.age
    if age_at_read is None:
        return now - intent.started_at
    return age_at_read + (yield from effects.Monotonic()) - state.read_at
