"""Presenting a refresh token once: intent, spool, send, spool, commit (docs/protocol.md 4).

The order of the effects is the point of this file. What an outcome means is decided in `grant`.
"""

import contextlib
from dataclasses import replace

from csidriver.core import custody, schedule
from csidriver.core.effects import (
    CreateSecret,
    GetSecret,
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
    Wait,
)
from csidriver.core.grant import (
    Conflict,
    Grant,
    begin,
    judge_conflict,
    presentable,
    withdraw,
    working_life,
)
from csidriver.core.issuers import UNLIMITED, Issuer
from csidriver.core.known import Known, Rules, Steps
from csidriver.core.outcome import Failed, Ok, Outcome
from csidriver.core.secret import Secret, SecretPatch
from csidriver.core.sensitive import Sensitive
from csidriver.core.settlement import fail, succeed
from csidriver.core.status import Kind, Signal
from csidriver.errors import InvalidSecret, SpoolFailed, StoreConflict, StoreError

# Seconds until a second look when this process may not send: it stops, or another one works.
RECHECK = 1.0
# Most seconds between two tries to store an outcome; storing it is never given up.
COMMIT_PAUSE = 5.0


def refresh_if_due(known: Known, issuer: Issuer, rules: Rules) -> Steps[Known]:
    """Settle an intent that was left behind, then refresh if the schedule says so."""
    known = yield from _settle_intent(known, issuer, rules)
    grant = known.grant
    now = yield from Now()
    if grant is None or grant.next_refresh is None or now < grant.next_refresh:
        return known
    if known.recheck_at is not None:
        return known
    token = presentable(grant)
    if token is None:
        raise InvalidSecret(f"grant of Secret {grant.ref}", ["holds no token that may be sent"])
    if not (yield from MaySend(issuer.name)):
        return replace(known, recheck_at=now + RECHECK)
    return (yield from _exchange(known, grant, token, issuer, rules))


def _settle_intent(known: Known, issuer: Issuer, rules: Rules) -> Steps[Known]:
    """Find out what became of an announced exchange that no outcome was recorded for."""
    grant = known.grant
    if grant is None or grant.intent is None or grant.intent.rt != grant.live:
        return known
    if grant.intent.recorded:
        return known
    now = yield from Now()
    if grant.intent.holder != rules.holder:
        free_at = grant.intent.started_at + grant.intent.takeover_after
        if now < free_at:
            return replace(known, recheck_at=free_at)
        return (yield from _record(known, grant, Failed(Signal.NO_ANSWER), now, issuer))
    entry = yield from SpoolRead(known.ref)
    if entry is None or entry.nonce != grant.intent.nonce:
        return replace(known, grant=withdraw(grant))
    outcome = Failed(Signal.NO_ANSWER) if entry.reply is None else Ok(entry.reply)
    return (yield from _record(known, grant, outcome, entry.sent_at, issuer))


def _exchange(
    known: Known, grant: Grant, token: Sensitive, issuer: Issuer, rules: Rules
) -> Steps[Known]:
    """Announce, send, record. Raises StoreConflict before anything was sent, never after."""
    life = working_life(grant, issuer)
    takeover_after = schedule.takeover_after(life, rules.limits, issuer.min_lead)
    announced = yield from Monotonic()
    now = yield from Now()
    nonce = yield from Nonce()
    if issuer.reuse != UNLIMITED:
        grant = begin(grant, nonce, rules.holder, now, takeover_after)
        patch = SecretPatch(data=dict(custody.to_data(grant)))
        stored = yield from PatchSecret(_custody(known), patch)
        known = replace(known, grant=grant, grant_secret=stored)
    yield from SpoolWrite(known.ref, SpoolEntry(nonce, now, None))
    if (yield from Monotonic()) - announced > takeover_after / 4:
        # Another replica may soon believe that we are dead: announce again instead of sending.
        yield from SpoolClear(known.ref)
        return replace(known, recheck_at=now)
    sent_at = yield from Now()
    outcome = yield from Send(
        issuer,
        grant.client,
        token,
        schedule.http_timeout(life, rules.limits, issuer.min_lead),
    )
    if isinstance(outcome, Ok):
        # The commit below is the real store, the spool only covers a crash before it.
        with contextlib.suppress(SpoolFailed):
            yield from SpoolWrite(known.ref, SpoolEntry(nonce, sent_at, outcome.reply))
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
        u = schedule.spread(grant.source_uid, grant.generation + 1)
        after = succeed(grant, outcome.reply, sent_at, issuer, u)
        known = replace(known, spooled=True)
        return (yield from _commit(known, grant, after))
    now = yield from Now()
    u = schedule.spread(f"{grant.source_uid}/{grant.failures}", grant.generation)
    known = yield from _commit(known, grant, fail(grant, outcome, now, issuer, u))
    if outcome.signal is Signal.INVALID_GRANT:
        # Somebody may have put a new token into the source while we presented the old one.
        known = replace(known, source_stale=True, recheck_at=now)
    return known


def _commit(known: Known, before: Grant, after: Grant) -> Steps[Known]:
    """Store a grant computed from `before`, however long it takes and whoever writes in between.

    A conflict never drops a reply: it is rebased unless the grant has moved on without us.
    """
    base = _custody(known)
    pause = COMMIT_PAUSE / 16
    while True:
        try:
            stored = yield from PatchSecret(base, SecretPatch(data=dict(custody.to_data(after))))
        except StoreConflict:
            pass
        except StoreError:
            yield from Wait(pause)
            pause = min(COMMIT_PAUSE, pause * 2)
            continue
        else:
            return replace(known, grant=after, grant_secret=stored)
        try:
            fresh = yield from GetSecret(base.namespace, base.name)
        except StoreError:
            yield from Wait(pause)
            continue
        stored_grant = None if fresh is None else custody.from_secret(fresh)
        if fresh is None and after.generation > before.generation:
            # Deleted under our hands; without it the refresh token we hold exists nowhere.
            with contextlib.suppress(StoreError):
                stored = yield from CreateSecret(custody.to_secret(after, base.namespace))
                return replace(known, grant=after, grant_secret=stored)
            yield from Wait(pause)
            continue
        conflict = judge_conflict(stored_grant, before, after)
        if fresh is None or conflict is not Conflict.REBASE:
            kept = conflict is Conflict.PEER_WON
            return replace(
                known, source_stale=True, custody_stale=True, spooled=known.spooled and not kept
            )
        base = fresh


def _custody(known: Known) -> Secret:
    if known.grant_secret is None:
        raise StoreConflict(f"the grant of Secret {known.ref} is gone")
    return known.grant_secret
