"""Presenting a refresh token once: intent, spool, send, spool, commit (docs/protocol.md 4).

The order of the effects is the point of this file. What an outcome means is decided in `grant`.
"""

import contextlib
import math
from dataclasses import replace

from csidriver.core import backoff
from csidriver.core.kubernetes.secret import SecretPatch
from csidriver.core.oauth.failure_reason import Kind, Signal
from csidriver.core.oauth.issuers import UNLIMITED, Issuer
from csidriver.core.oauth.token_response import Failed, Ok, Outcome
from csidriver.core.refresh import grant_secret, schedule
from csidriver.core.refresh.commit import commit, held
from csidriver.core.refresh.duplicates import heed_namesakes
from csidriver.core.refresh.effects import (
    GiveBack,
    MaySend,
    Monotonic,
    Nonce,
    Now,
    PatchSecret,
    Send,
    SpoolClear,
    SpoolEntry,
    SpoolRead,
    SpoolWrite,
)
from csidriver.core.refresh.grant import Grant, Intent, begin, presentable, withdraw, working_life
from csidriver.core.refresh.introspect import consult
from csidriver.core.refresh.messages import HELD_BACK_MESSAGE
from csidriver.core.refresh.outcomes import fail, reconsider, scoped, succeed
from csidriver.core.refresh.state import Known, Rules, Steps
from csidriver.core.sensitive import Sensitive
from csidriver.core.status import Status
from csidriver.errors import DriverError, InvalidSecret, SpoolFailed

# Seconds until a second look when this process may not send: it stops, or another one works.
RECHECK = 1.0
# Seconds a token may be held back in its issuer's queue before that is worth telling.
NOTABLE_PAUSE = 5.0
# What a process that took over may have made of an exchange whose reply it never saw.
_DOUBTED = frozenset({Status.UNCERTAIN, Status.NEEDS_REAUTH, Status.LOST_ROTATION})


def refresh_if_due(known: Known, issuer: Issuer, rules: Rules) -> Steps[Known]:
    """Settle an intent that was left behind, then refresh if the schedule says so."""
    known = yield from _settle_intent(known, issuer, rules)
    known = yield from heed_namesakes(known)
    now = yield from Now()
    if known.grant is None or known.custody_stale:
        return known
    grant = reconsider(known.grant, issuer, now)
    known = replace(known, grant=grant)
    if grant.next_refresh is None or now < grant.next_refresh or known.recheck_at is not None:
        return known
    token = presentable(grant)
    if token is None:
        raise InvalidSecret(f"grant of Secret {grant.ref}", ["holds no token that may be sent"])
    pause = yield from MaySend(issuer, known.ref, grant.client)
    if pause > 0:
        grant = _held_back(grant, pause, now, issuer)
        soon = now + (pause if math.isfinite(pause) else RECHECK)
        return replace(known, grant=grant, recheck_at=soon)
    return (yield from _exchange(known, token, issuer, rules))


def settle_own(known: Known, issuer: Issuer, rules: Rules) -> Steps[Known]:
    """Settle what this replica left behind, and nothing of another's."""
    intent = None if known.grant is None else known.grant.intent
    if intent is not None and not intent.recorded and intent.holder != rules.holder:
        return known
    known = yield from _settle_intent(known, issuer, rules)
    if known.spooled:
        yield from SpoolClear(known.ref)
    return replace(known, spooled=False)


def _held_back(grant: Grant, pause: float, now: float, issuer: Issuer) -> Grant:
    """The grant while its issuer is spared: users are told once the token in hand runs short."""
    short = grant.expires_at - now < schedule.lead(working_life(grant, issuer)) / 2
    told = grant.status in (Status.READY, Status.PENDING)
    if not (short and told and NOTABLE_PAUSE < pause < math.inf):
        return grant
    return replace(grant, status=Status.ISSUER_UNAVAILABLE, message=HELD_BACK_MESSAGE)


def _settle_intent(known: Known, issuer: Issuer, rules: Rules) -> Steps[Known]:
    """Find out what became of an announced exchange that no outcome was recorded for."""
    grant = known.grant
    intent = None if grant is None else grant.intent
    if grant is None or (intent is not None and intent.rt != grant.live):
        return known
    if intent is None or intent.recorded:
        return (yield from _find_reply(known, grant, issuer))
    now = yield from Now()
    age = yield from _age(known, intent, now)
    left = intent.takeover_after - age
    if intent.holder != rules.holder:
        if left > 0:
            return replace(known, recheck_at=now + left)
        # Its instants are of another process's clock; from here on they are of this one's.
        first_at = now - age - (intent.started_at - intent.first_at)
        taken = replace(grant, intent=replace(intent, first_at=first_at))
        return (yield from _record(known, taken, Failed(Signal.NO_ANSWER), now, issuer))
    try:
        entry = yield from SpoolRead(known.ref)
    except SpoolFailed:
        if left > 0:
            raise  # it may be read yet, and hold the reply
        entry = SpoolEntry(intent.nonce, now, None)
    if entry is None or entry.nonce != intent.nonce:
        return replace(known, grant=withdraw(grant))
    outcome = Failed(Signal.NO_ANSWER) if entry.reply is None else Ok(entry.reply)
    return (yield from _record(known, grant, outcome, entry.sent_at, issuer))


def _find_reply(known: Known, grant: Grant, issuer: Issuer) -> Steps[Known]:
    """What a peer did not hear of while we stood still, or were away, may lie in our spool.

    To present the token again would be the second time: the reply says that it is spent.
    """
    if grant.status not in _DOUBTED:
        return known
    entry = None
    with contextlib.suppress(SpoolFailed):
        entry = yield from SpoolRead(known.ref)
    if entry is None or entry.reply is None or entry.rt != grant.live:
        return known
    return (yield from _record(known, grant, Ok(entry.reply), entry.sent_at, issuer))


def _age(known: Known, intent: Intent, now: float) -> Steps[float]:
    """How old an intent is in seconds, by the backend's clock if it told."""
    told = None if known.grant_secret is None else known.grant_secret.age
    if told is None:
        return now - intent.started_at
    # Reading it is where the backend's clock stops and ours goes on.
    return told + (yield from Monotonic()) - known.read_at


def _exchange(known: Known, token: Sensitive, issuer: Issuer, rules: Rules) -> Steps[Known]:
    """Announce, send, record. Raises StoreConflict before anything was sent, never after.

    The slot that MaySend took goes to the Send, or back.
    """
    nonce = ""
    try:
        now = yield from Now()
        known, allowed = yield from consult(known, issuer, rules, now)
        grant = known.grant
        if allowed and grant is not None:
            known, grant, nonce = yield from _announce(known, grant, now, issuer, rules)
    except DriverError:
        yield from GiveBack(issuer, known.ref)
        raise
    if grant is None or not nonce:
        yield from GiveBack(issuer, known.ref)
        return known
    return (yield from _present(known, grant, nonce, token, issuer, rules))


def _announce(
    known: Known, grant: Grant, now: float, issuer: Issuer, rules: Rules
) -> Steps[tuple[Known, Grant, str]]:
    """Store the intent, spool its nonce; "" if that took so long that it may not be relied on."""
    takeover_after = schedule.takeover_after(
        working_life(grant, issuer), rules.limits, issuer.min_lead
    )
    announced = yield from Monotonic()
    nonce = yield from Nonce()
    if issuer.reuse != UNLIMITED:
        grant = begin(grant, nonce, rules.holder, now, takeover_after)
        patch = SecretPatch(data=dict(grant_secret.to_data(grant)))
        stored = yield from PatchSecret(held(known), patch)
        known = known.with_grant(stored, grant)
    yield from SpoolWrite(known.ref, SpoolEntry(nonce, now, None))
    if (yield from Monotonic()) - announced > takeover_after / 4:
        # Another replica may soon believe that we are dead: announce again instead of sending.
        yield from SpoolClear(known.ref)
        return replace(known, recheck_at=now), grant, ""
    return known, grant, nonce


def _present(
    known: Known, grant: Grant, nonce: str, token: Sensitive, issuer: Issuer, rules: Rules
) -> Steps[Known]:
    life = working_life(grant, issuer)
    sent_at = yield from Now()
    outcome = yield from Send(
        scoped(grant, issuer),
        grant.client,
        token,
        schedule.http_timeout(life, rules.limits, issuer.min_lead),
    )
    if isinstance(outcome, Ok):
        # The commit below is the real store, the spool only covers a crash before it.
        with contextlib.suppress(SpoolFailed):
            yield from SpoolWrite(known.ref, SpoolEntry(nonce, sent_at, outcome.reply, grant.live))
    elif outcome.kind is not Kind.UNCERTAIN:
        # An intent without a spool entry reads as "not presented", which is what this outcome says.
        with contextlib.suppress(SpoolFailed):
            yield from SpoolClear(known.ref)
    return (yield from _record(known, grant, outcome, sent_at, issuer))


def _record(
    known: Known, grant: Grant, outcome: Outcome, sent_at: float, issuer: Issuer
) -> Steps[Known]:
    """Store what an exchange brought. `sent_at` is the instant before sending (epoch seconds)."""
    if isinstance(outcome, Ok):
        u = backoff.spread(grant.source_uid, grant.generation + 1)
        after = succeed(grant, outcome.reply, sent_at, issuer, u)
        known = replace(known, spooled=True)
        return (yield from commit(known, grant, after))
    now = yield from Now()
    u = backoff.spread(f"{grant.source_uid}/{grant.failures}", grant.generation)
    known = yield from commit(known, grant, fail(grant, outcome, now, issuer, u))
    if outcome.signal is Signal.INVALID_GRANT:
        # Somebody may have put a new token into the source while we presented the old one.
        known = replace(known, source_stale=True, recheck_at=now)
    return known
