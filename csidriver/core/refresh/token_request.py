"""Presenting a refresh token once: intent, spool, send, spool, commit (docs/protocol.md 4).

The order of the effects is the point of this file. What an outcome means is decided in `grant`.
"""

import contextlib
import math
from dataclasses import replace

from csidriver.core import backoff
from csidriver.core.kubernetes.secret import SecretPatch
from csidriver.core.oauth.failure_reason import Consumption, FailureReason
from csidriver.core.oauth.issuers import UNLIMITED, Issuer
from csidriver.core.oauth.token_response import Failure, Success, TokenResponse
from csidriver.core.refresh import grant_secret, schedule
from csidriver.core.refresh.commit import commit, grant_secret_or_conflict
from csidriver.core.refresh.duplicates import check_duplicates
from csidriver.core.refresh.effects import (
    AcquireSendSlot,
    Monotonic,
    Nonce,
    Now,
    PatchSecret,
    ReleaseSendSlot,
    RequestToken,
    SpoolClear,
    SpoolEntry,
    SpoolRead,
    SpoolWrite,
)
from csidriver.core.refresh.grant import (
    Grant,
    Intent,
    effective_lifetime,
    sendable_refresh_token,
    with_intent,
    without_unsent_attempt,
)
from csidriver.core.refresh.introspect import check_before_sending
from csidriver.core.refresh.messages import HELD_BACK_MESSAGE
from csidriver.core.refresh.outcomes import (
    after_failure,
    after_success,
    reschedule_if_obsolete,
    without_refused_scope,
)
from csidriver.core.refresh.state import Effects, RefreshContext, TokenState
from csidriver.core.sensitive import Sensitive
from csidriver.core.status import Status
from csidriver.errors import DriverError, InvalidSecret, SpoolFailed

# Seconds until a second look when this process may not send: it stops, or another one works.
RECHECK = 1.0
# Seconds a token may be held back in its issuer's queue before that is worth telling.
NOTABLE_PAUSE = 5.0
# What a process that took over may have made of an exchange whose reply it never saw.
_DOUBTED = frozenset({Status.UNCERTAIN, Status.NEEDS_REAUTH, Status.LOST_ROTATION})


def refresh_if_due(known: TokenState, issuer: Issuer, rules: RefreshContext) -> Effects[TokenState]:
    """Settle an intent that was left behind, then refresh if the schedule says so."""
    known = yield from _recover_intent(known, issuer, rules)
    known = yield from check_duplicates(known)
    now = yield from Now()
    if known.grant is None or known.grant_stale:
        return known
    grant = reschedule_if_obsolete(known.grant, issuer, now)
    known = replace(known, grant=grant)
    if grant.next_refresh is None or now < grant.next_refresh or known.requeue_at is not None:
        return known
    token = sendable_refresh_token(grant)
    if token is None:
        raise InvalidSecret(f"grant of Secret {grant.ref}", ["holds no token that may be sent"])
    pause = yield from AcquireSendSlot(issuer, known.ref, grant.client)
    if pause > 0:
        grant = _delayed_by_limit(grant, pause, now, issuer)
        soon = now + (pause if math.isfinite(pause) else RECHECK)
        return replace(known, grant=grant, requeue_at=soon)
    return (yield from _request_token(known, token, issuer, rules))


def recover_own_intent(
    known: TokenState, issuer: Issuer, rules: RefreshContext
) -> Effects[TokenState]:
    """Settle what this replica left behind, and nothing of another's."""
    intent = None if known.grant is None else known.grant.intent
    if intent is not None and not intent.recorded and intent.holder != rules.holder:
        return known
    known = yield from _recover_intent(known, issuer, rules)
    if known.spooled:
        yield from SpoolClear(known.ref)
    return replace(known, spooled=False)


def _delayed_by_limit(grant: Grant, pause: float, now: float, issuer: Issuer) -> Grant:
    """The grant while its issuer is spared: users are told once the token in hand runs short."""
    short = grant.expires_at - now < schedule.lead_time(effective_lifetime(grant, issuer)) / 2
    told = grant.status in (Status.READY, Status.PENDING)
    if not (short and told and NOTABLE_PAUSE < pause < math.inf):
        return grant
    return replace(grant, status=Status.ISSUER_UNAVAILABLE, message=HELD_BACK_MESSAGE)


def _recover_intent(
    known: TokenState, issuer: Issuer, rules: RefreshContext
) -> Effects[TokenState]:
    """Find out what became of an announced exchange that no outcome was recorded for."""
    grant = known.grant
    intent = None if grant is None else grant.intent
    if grant is None or (intent is not None and intent.refresh_token_hash != grant.live_hash):
        return known
    if intent is None or intent.recorded:
        return (yield from _reply_in_spool(known, grant, issuer))
    now = yield from Now()
    age = yield from _age(known, intent, now)
    left = intent.takeover_after - age
    if intent.holder != rules.holder:
        if left > 0:
            return replace(known, requeue_at=now + left)
        # Its instants are of another process's clock; from here on they are of this one's.
        first_at = now - age - (intent.started_at - intent.first_at)
        taken = replace(grant, intent=replace(intent, first_at=first_at))
        return (
            yield from _store_outcome(known, taken, Failure(FailureReason.NO_ANSWER), now, issuer)
        )
    try:
        entry = yield from SpoolRead(known.ref)
    except SpoolFailed:
        if left > 0:
            raise  # it may be read yet, and hold the reply
        entry = SpoolEntry(intent.nonce, now, None)
    if entry is None or entry.nonce != intent.nonce:
        return replace(known, grant=without_unsent_attempt(grant))
    outcome = Failure(FailureReason.NO_ANSWER) if entry.reply is None else Success(entry.reply)
    return (yield from _store_outcome(known, grant, outcome, entry.sent_at, issuer))


def _reply_in_spool(known: TokenState, grant: Grant, issuer: Issuer) -> Effects[TokenState]:
    """What a peer did not hear of while we stood still, or were away, may lie in our spool.

    To present the token again would be the second time: the reply says that it is spent.
    """
    if grant.status not in _DOUBTED:
        return known
    entry = None
    with contextlib.suppress(SpoolFailed):
        entry = yield from SpoolRead(known.ref)
    if entry is None or entry.reply is None or entry.rt != grant.live_hash:
        return known
    return (yield from _store_outcome(known, grant, Success(entry.reply), entry.sent_at, issuer))


def _age(known: TokenState, intent: Intent, now: float) -> Effects[float]:
    """How old an intent is in seconds, by the backend's clock if it told."""
    told = None if known.grant_secret is None else known.grant_secret.age
    if told is None:
        return now - intent.started_at
    # Reading it is where the backend's clock stops and ours goes on.
    return told + (yield from Monotonic()) - known.read_at


def _request_token(
    known: TokenState, token: Sensitive, issuer: Issuer, rules: RefreshContext
) -> Effects[TokenState]:
    """Announce, send, record. Raises StoreConflict before anything was sent, never after.

    The slot that MaySend took goes to the Send, or back.
    """
    nonce = ""
    try:
        now = yield from Now()
        known, allowed = yield from check_before_sending(known, issuer, rules, now)
        grant = known.grant
        if allowed and grant is not None:
            known, grant, nonce = yield from _write_intent(known, grant, now, issuer, rules)
    except DriverError:
        yield from ReleaseSendSlot(issuer, known.ref)
        raise
    if grant is None or not nonce:
        yield from ReleaseSendSlot(issuer, known.ref)
        return known
    return (yield from _send(known, grant, nonce, token, issuer, rules))


def _write_intent(
    known: TokenState, grant: Grant, now: float, issuer: Issuer, rules: RefreshContext
) -> Effects[tuple[TokenState, Grant, str]]:
    """Store the intent, spool its nonce; "" if that took so long that it may not be relied on."""
    takeover_after = schedule.takeover_after(
        effective_lifetime(grant, issuer), rules.limits, issuer.min_lead
    )
    announced = yield from Monotonic()
    nonce = yield from Nonce()
    if issuer.reuse != UNLIMITED:
        grant = with_intent(grant, nonce, rules.holder, now, takeover_after)
        patch = SecretPatch(data=dict(grant_secret.to_data(grant)))
        stored = yield from PatchSecret(grant_secret_or_conflict(known), patch)
        known = known.with_grant(stored, grant)
    yield from SpoolWrite(known.ref, SpoolEntry(nonce, now, None))
    if (yield from Monotonic()) - announced > takeover_after / 4:
        # Another replica may soon believe that we are dead: announce again instead of sending.
        yield from SpoolClear(known.ref)
        return replace(known, requeue_at=now), grant, ""
    return known, grant, nonce


def _send(
    known: TokenState,
    grant: Grant,
    nonce: str,
    token: Sensitive,
    issuer: Issuer,
    rules: RefreshContext,
) -> Effects[TokenState]:
    life = effective_lifetime(grant, issuer)
    sent_at = yield from Now()
    outcome = yield from RequestToken(
        without_refused_scope(grant, issuer),
        grant.client,
        token,
        schedule.http_timeout(life, rules.limits, issuer.min_lead),
    )
    if isinstance(outcome, Success):
        # The commit below is the real store, the spool only covers a crash before it.
        with contextlib.suppress(SpoolFailed):
            yield from SpoolWrite(
                known.ref, SpoolEntry(nonce, sent_at, outcome.reply, grant.live_hash)
            )
    elif outcome.consumption is not Consumption.UNKNOWN:
        # An intent without a spool entry reads as "not presented", which is what this outcome says.
        with contextlib.suppress(SpoolFailed):
            yield from SpoolClear(known.ref)
    return (yield from _store_outcome(known, grant, outcome, sent_at, issuer))


def _store_outcome(
    known: TokenState, grant: Grant, outcome: TokenResponse, sent_at: float, issuer: Issuer
) -> Effects[TokenState]:
    """Store what an exchange brought. `sent_at` is the instant before sending (epoch seconds)."""
    if isinstance(outcome, Success):
        u = backoff.stable_jitter(grant.source_uid, grant.generation + 1)
        after = after_success(grant, outcome.reply, sent_at, issuer, u)
        known = replace(known, spooled=True)
        return (yield from commit(known, grant, after))
    now = yield from Now()
    u = backoff.stable_jitter(f"{grant.source_uid}/{grant.failures}", grant.generation)
    known = yield from commit(known, grant, after_failure(grant, outcome, now, issuer, u))
    if outcome.reason is FailureReason.INVALID_GRANT:
        # Somebody may have put a new token into the source while we presented the old one.
        known = replace(known, source_stale=True, requeue_at=now)
    return known
