"""Recovery of an open intent: was its refresh token sent, and is there a reply?

The rules are docs/protocol.md section 4.2.
"""

import contextlib
from dataclasses import replace

from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.token_response import Failure, Success
from csidriver.core.refresh import effects
from csidriver.core.refresh.grant import Grant, Intent, without_unsent_attempt
from csidriver.core.refresh.state import Effects, RefreshContext, TokenState
from csidriver.core.refresh.token_request import store_outcome
from csidriver.core.status import Status
from csidriver.errors import SpoolFailed

# Statuses that another replica may have stored for a token request whose reply is in our spool.
_RECOVERABLE = frozenset({Status.UNCERTAIN, Status.NEEDS_REAUTH, Status.LOST_ROTATION})


def recover_own_intent(
    state: TokenState, issuer: Issuer, context: RefreshContext
) -> Effects[TokenState]:
    intent = None if state.grant is None else state.grant.intent
    if intent is not None and not intent.recorded and intent.holder != context.holder:
        return state
    state = yield from recover_intent(state, issuer, context)
    if state.spooled:
        yield from effects.SpoolClear(state.ref)
    return replace(state, spooled=False)


def recover_intent(
    state: TokenState, issuer: Issuer, context: RefreshContext
) -> Effects[TokenState]:
    """Store the outcome of an intent that has none.

    - none, or recorded as unknown: a reply in the spool is the outcome;
    - of another replica: wait for `takeover_after`, then the outcome is unknown;
    - own, without a spool entry of its nonce: the token was not sent;
    - own, with a reply in the spool: success;
    - own, with the nonce only, or unreadable for `takeover_after`: the outcome is unknown.
    """
    grant = state.grant
    intent = None if grant is None else grant.intent
    if grant is None or (intent is not None and intent.refresh_token_hash != grant.live_hash):
        return state
    if intent is None or intent.recorded:
        return (yield from _reply_in_spool(state, grant, issuer))
    now = yield from effects.Now()
    age = yield from _intent_age(state, intent, now)
    remaining = intent.takeover_after - age
    unknown = Failure(FailureReason.NO_ANSWER)
    if intent.holder != context.holder:
        if remaining > 0:
            return replace(state, requeue_at=now + remaining)
        # Convert the times of the other replica's clock to this one's.
        first_at = now - age - (intent.started_at - intent.first_at)
        grant = replace(grant, intent=replace(intent, first_at=first_at))
        return (yield from store_outcome(state, grant, unknown, now, issuer))
    try:
        entry = yield from effects.SpoolRead(state.ref)
    except SpoolFailed:
        if remaining > 0:
            raise  # the entry may hold the reply, and the next read may succeed
        entry = effects.SpoolEntry(intent.nonce, now, None)
    if entry is None or entry.nonce != intent.nonce:
        return replace(state, grant=without_unsent_attempt(grant))
    outcome = unknown if entry.reply is None else Success(entry.reply)
    return (yield from store_outcome(state, grant, outcome, entry.sent_at, issuer))


def _reply_in_spool(state: TokenState, grant: Grant, issuer: Issuer) -> Effects[TokenState]:
    """Store a reply to the live token that this process received before another one took over.

    The reply proves that the token is spent, so nobody may present it again.
    """
    if grant.status not in _RECOVERABLE:
        return state
    entry = None
    with contextlib.suppress(SpoolFailed):
        entry = yield from effects.SpoolRead(state.ref)
    if entry is None or entry.reply is None or entry.refresh_token_hash != grant.live_hash:
        return state
    return (yield from store_outcome(state, grant, Success(entry.reply), entry.sent_at, issuer))


def _intent_age(state: TokenState, intent: Intent, now: float) -> Effects[float]:
    """Return seconds, by the backend's clock at the read and the monotonic clock since then."""
    age_at_read = None if state.grant_secret is None else state.grant_secret.age
    if age_at_read is None:
        return now - intent.started_at
    return age_at_read + (yield from effects.Monotonic()) - state.read_at
