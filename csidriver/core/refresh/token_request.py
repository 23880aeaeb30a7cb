"""Presenting a refresh token once: intent, spool, send, spool, commit (docs/protocol.md 4).

The order of the effects is the point of this file. What an outcome means is decided in `grant`.
"""

import contextlib
from dataclasses import replace

from csidriver.core import backoff
from csidriver.core.kubernetes.secret import SecretPatch
from csidriver.core.oauth.failure_reason import Consumption, FailureReason
from csidriver.core.oauth.issuers import UNLIMITED, Issuer
from csidriver.core.oauth.token_response import Success, TokenResponse
from csidriver.core.refresh import grant_secret, schedule
from csidriver.core.refresh.commit import commit, grant_secret_or_conflict
from csidriver.core.refresh.effects import (
    Monotonic,
    Nonce,
    Now,
    PatchSecret,
    ReleaseSendSlot,
    RequestToken,
    SpoolClear,
    SpoolEntry,
    SpoolWrite,
)
from csidriver.core.refresh.grant import (
    Grant,
    effective_lifetime,
    with_intent,
)
from csidriver.core.refresh.introspect import check_before_sending
from csidriver.core.refresh.outcomes import (
    after_failure,
    after_success,
    without_refused_scope,
)
from csidriver.core.refresh.state import Effects, RefreshContext, TokenState
from csidriver.core.sensitive import Sensitive
from csidriver.errors import DriverError, SpoolFailed


def request_token(
    state: TokenState, token: Sensitive, issuer: Issuer, context: RefreshContext
) -> Effects[TokenState]:
    """Announce, send, record. Raises StoreConflict before anything was sent, never after.

    The slot that MaySend took goes to the Send, or back.
    """
    nonce = ""
    try:
        now = yield from Now()
        state, allowed = yield from check_before_sending(state, issuer, context, now)
        grant = state.grant
        if allowed and grant is not None:
            state, grant, nonce = yield from _write_intent(state, grant, now, issuer, context)
    except DriverError:
        yield from ReleaseSendSlot(issuer, state.ref)
        raise
    if grant is None or not nonce:
        yield from ReleaseSendSlot(issuer, state.ref)
        return state
    return (yield from _send(state, grant, nonce, token, issuer, context))


def _write_intent(
    state: TokenState, grant: Grant, now: float, issuer: Issuer, context: RefreshContext
) -> Effects[tuple[TokenState, Grant, str]]:
    """Store the intent, spool its nonce; "" if that took so long that it may not be relied on."""
    takeover_after = schedule.takeover_after(
        effective_lifetime(grant, issuer), context.timeouts, issuer.min_lead
    )
    announced = yield from Monotonic()
    nonce = yield from Nonce()
    if issuer.reuse != UNLIMITED:
        grant = with_intent(grant, nonce, context.holder, now, takeover_after)
        patch = SecretPatch(data=dict(grant_secret.to_data(grant)))
        stored = yield from PatchSecret(grant_secret_or_conflict(state), patch)
        state = state.with_grant(stored, grant)
    yield from SpoolWrite(state.ref, SpoolEntry(nonce, now, None))
    if (yield from Monotonic()) - announced > takeover_after / 4:
        # Another replica may soon believe that we are dead: announce again instead of sending.
        yield from SpoolClear(state.ref)
        return replace(state, requeue_at=now), grant, ""
    return state, grant, nonce


def _send(
    state: TokenState,
    grant: Grant,
    nonce: str,
    token: Sensitive,
    issuer: Issuer,
    context: RefreshContext,
) -> Effects[TokenState]:
    life = effective_lifetime(grant, issuer)
    sent_at = yield from Now()
    outcome = yield from RequestToken(
        without_refused_scope(grant, issuer),
        grant.client,
        token,
        schedule.http_timeout(life, context.timeouts, issuer.min_lead),
    )
    if isinstance(outcome, Success):
        # The commit below is the real store, the spool only covers a crash before it.
        with contextlib.suppress(SpoolFailed):
            yield from SpoolWrite(
                state.ref, SpoolEntry(nonce, sent_at, outcome.reply, grant.live_hash)
            )
    elif outcome.consumption is not Consumption.UNKNOWN:
        # An intent without a spool entry reads as "not presented", which is what this outcome says.
        with contextlib.suppress(SpoolFailed):
            yield from SpoolClear(state.ref)
    return (yield from store_outcome(state, grant, outcome, sent_at, issuer))


def store_outcome(
    state: TokenState, grant: Grant, outcome: TokenResponse, sent_at: float, issuer: Issuer
) -> Effects[TokenState]:
    """Store what an exchange brought. `sent_at` is the instant before sending (epoch seconds)."""
    if isinstance(outcome, Success):
        u = backoff.stable_jitter(grant.source_uid, grant.generation + 1)
        after = after_success(grant, outcome.reply, sent_at, issuer, u)
        state = replace(state, spooled=True)
        return (yield from commit(state, grant, after))
    now = yield from Now()
    u = backoff.stable_jitter(f"{grant.source_uid}/{grant.failures}", grant.generation)
    state = yield from commit(state, grant, after_failure(grant, outcome, now, issuer, u))
    if outcome.reason is FailureReason.INVALID_GRANT:
        # Somebody may have put a new token into the source while we presented the old one.
        state = replace(state, source_stale=True, requeue_at=now)
    return state
