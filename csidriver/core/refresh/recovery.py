"""What happens to an intent that is found open."""

import contextlib
from dataclasses import replace

from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.token_response import Failure, Success
from csidriver.core.refresh.effects import (
    Monotonic,
    Now,
    SpoolClear,
    SpoolEntry,
    SpoolRead,
)
from csidriver.core.refresh.grant import (
    Grant,
    Intent,
    without_unsent_attempt,
)
from csidriver.core.refresh.state import Effects, RefreshContext, TokenState
from csidriver.core.refresh.token_request import store_outcome
from csidriver.core.status import Status
from csidriver.errors import SpoolFailed

# What a process that took over may have made of an exchange whose reply it never saw.
_RECOVERABLE = frozenset({Status.UNCERTAIN, Status.NEEDS_REAUTH, Status.LOST_ROTATION})


def recover_own_intent(
    state: TokenState, issuer: Issuer, context: RefreshContext
) -> Effects[TokenState]:
    """Settle what this replica left behind, and nothing of another's."""
    intent = None if state.grant is None else state.grant.intent
    if intent is not None and not intent.recorded and intent.holder != context.holder:
        return state
    state = yield from recover_intent(state, issuer, context)
    if state.spooled:
        yield from SpoolClear(state.ref)
    return replace(state, spooled=False)


def recover_intent(
    state: TokenState, issuer: Issuer, context: RefreshContext
) -> Effects[TokenState]:
    """Find out what became of an announced exchange that no outcome was recorded for."""
    grant = state.grant
    intent = None if grant is None else grant.intent
    if grant is None or (intent is not None and intent.refresh_token_hash != grant.live_hash):
        return state
    if intent is None or intent.recorded:
        return (yield from _reply_in_spool(state, grant, issuer))
    now = yield from Now()
    age = yield from _intent_age(state, intent, now)
    left = intent.takeover_after - age
    if intent.holder != context.holder:
        if left > 0:
            return replace(state, requeue_at=now + left)
        # Its instants are of another process's clock; from here on they are of this one's.
        first_at = now - age - (intent.started_at - intent.first_at)
        taken = replace(grant, intent=replace(intent, first_at=first_at))
        return (
            yield from store_outcome(state, taken, Failure(FailureReason.NO_ANSWER), now, issuer)
        )
    try:
        entry = yield from SpoolRead(state.ref)
    except SpoolFailed:
        if left > 0:
            raise  # it may be read yet, and hold the reply
        entry = SpoolEntry(intent.nonce, now, None)
    if entry is None or entry.nonce != intent.nonce:
        return replace(state, grant=without_unsent_attempt(grant))
    outcome = Failure(FailureReason.NO_ANSWER) if entry.reply is None else Success(entry.reply)
    return (yield from store_outcome(state, grant, outcome, entry.sent_at, issuer))


def _reply_in_spool(state: TokenState, grant: Grant, issuer: Issuer) -> Effects[TokenState]:
    """What a peer did not hear of while we stood still, or were away, may lie in our spool.

    To present the token again would be the second time: the reply says that it is spent.
    """
    if grant.status not in _RECOVERABLE:
        return state
    entry = None
    with contextlib.suppress(SpoolFailed):
        entry = yield from SpoolRead(state.ref)
    if entry is None or entry.reply is None or entry.refresh_token_hash != grant.live_hash:
        return state
    return (yield from store_outcome(state, grant, Success(entry.reply), entry.sent_at, issuer))


def _intent_age(state: TokenState, intent: Intent, now: float) -> Effects[float]:
    """How old an intent is in seconds, by the backend's clock if it told."""
    told = None if state.grant_secret is None else state.grant_secret.age
    if told is None:
        return now - intent.started_at
    # Reading it is where the backend's clock stops and ours goes on.
    return told + (yield from Monotonic()) - state.read_at
