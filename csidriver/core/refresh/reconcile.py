"""One visit to one token, as a generator of effects: the refresh protocol's main line.

Threads drive it in production, virtual time drives it in the simulator. Level-triggered: a visit
may come at any time and for any reason, and does only what is missing.
"""

import math
from dataclasses import replace

from csidriver.core.oauth.issuers import Issuer
from csidriver.core.refresh import schedule
from csidriver.core.refresh.adopt import bound_issuer, delete_after_grace, sync_from_source
from csidriver.core.refresh.companion_update import store_companion_and_mirror
from csidriver.core.refresh.duplicates import check_duplicates
from csidriver.core.refresh.effects import AcquireSendSlot, Now
from csidriver.core.refresh.grant import Grant, effective_lifetime, sendable_refresh_token
from csidriver.core.refresh.messages import DAMAGED_MESSAGE, EMPTY_MESSAGE, HELD_BACK_MESSAGE
from csidriver.core.refresh.outcomes import reschedule_if_obsolete
from csidriver.core.refresh.recovery import recover_intent, recover_own_intent
from csidriver.core.refresh.source_annotations import StatusOverride
from csidriver.core.refresh.state import (
    Effects,
    RefreshContext,
    TokenState,
    learn_grant,
    learn_source,
)
from csidriver.core.refresh.token_request import request_token
from csidriver.core.status import Status
from csidriver.errors import InvalidSecret, StoreConflict, StoreRefused

# Seconds until a second look when this process may not send: it stops, or another one works.
RECHECK = 1.0
# Seconds a token may be held back in its issuer's queue before that is worth telling.
NOTABLE_PAUSE = 5.0


def reconcile(known: TokenState, rules: RefreshContext) -> Effects[TokenState]:
    """Bring one token up to date with its source, its schedule and its companion.

    Returns what is known afterwards; `next_reconcile` says when to come again.

    Raises:
        StoreError, SpoolFailed: the surroundings failed; everything done so far is safe.
    """
    if not rules.serves(known):
        # Its grant stays: the operator may enrol the namespace again, and it holds the only copy.
        return replace(known, next_reconcile=None)
    try:
        known = yield from learn_grant(known, rules)
        try:
            known = yield from learn_source(known)
        except StoreRefused:
            # Who took the right away took no token back: what the spool holds is lost with the pod.
            known = yield from _recover_only(known, rules)
            if rules.serves(known):
                raise
            return replace(known, next_reconcile=None)
        if known.source is None:
            return (yield from delete_after_grace(known))
        return (
            yield from _reconcile_present(
                replace(known, source_deleted_at=None, requeue_at=None), rules
            )
        )
    except StoreConflict:
        return (yield from _restart(known))


def _reconcile_present(known: TokenState, rules: RefreshContext) -> Effects[TokenState]:
    """Custody, refresh, publication of a token whose source is there. Raises StoreConflict."""
    if known.grant_unreadable:
        return (
            yield from store_companion_and_mirror(
                known, rules, _unusable_grant(known, rules, DAMAGED_MESSAGE)
            )
        )
    known, plight = yield from sync_from_source(known, rules)
    if known.grant is not None and sendable_refresh_token(known.grant) is None:
        plight = _unusable_grant(known, rules, EMPTY_MESSAGE)
    if known.grant is not None and not (plight and plight.blocks):
        issuer = bound_issuer(known.grant, rules)
        if isinstance(issuer, Issuer):
            known = yield from refresh_if_due(known, issuer, rules)
            if known.grant_stale:
                return (yield from _restart(known))
        else:
            plight = StatusOverride(Status.MISCONFIGURED, issuer, blocks=True)
    return (yield from store_companion_and_mirror(known, rules, plight))


def refresh_if_due(known: TokenState, issuer: Issuer, rules: RefreshContext) -> Effects[TokenState]:
    """Settle an intent that was left behind, then refresh if the schedule says so."""
    known = yield from recover_intent(known, issuer, rules)
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
    return (yield from request_token(known, token, issuer, rules))


def _delayed_by_limit(grant: Grant, pause: float, now: float, issuer: Issuer) -> Grant:
    """The grant while its issuer is spared: users are told once the token in hand runs short."""
    short = grant.expires_at - now < schedule.lead_time(effective_lifetime(grant, issuer)) / 2
    told = grant.status in (Status.READY, Status.PENDING)
    if not (short and told and NOTABLE_PAUSE < pause < math.inf):
        return grant
    return replace(grant, status=Status.ISSUER_UNAVAILABLE, message=HELD_BACK_MESSAGE)


def _recover_only(known: TokenState, rules: RefreshContext) -> Effects[TokenState]:
    """Store what an exchange of ours brought; the source has no part in that."""
    issuer = None if known.grant is None else bound_issuer(known.grant, rules)
    if not isinstance(issuer, Issuer) or known.grant_unreadable or known.grant_missing_in_store:
        return known
    return (yield from recover_own_intent(known, issuer, rules))


def _unusable_grant(known: TokenState, rules: RefreshContext, message: str) -> StatusOverride:
    """Why nothing is sent for a grant that came to harm; what is left of it is not touched."""
    grant = f"{rules.driver_namespace}/{known.ref.grant}"
    return StatusOverride(Status.INVALID, message.format(grant=grant), blocks=True)


def _restart(known: TokenState) -> Effects[TokenState]:
    """Somebody else wrote first: read everything again, at once, and decide anew."""
    now = yield from Now()
    return replace(known, source_stale=True, grant_stale=True, next_reconcile=now)
