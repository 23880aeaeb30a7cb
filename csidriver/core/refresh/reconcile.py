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
from csidriver.core.refresh.messages import (
    DELAYED_MESSAGE,
    EMPTY_GRANT_MESSAGE,
    UNREADABLE_GRANT_MESSAGE,
)
from csidriver.core.refresh.outcomes import reschedule_if_obsolete
from csidriver.core.refresh.recovery import recover_intent, recover_own_intent
from csidriver.core.refresh.source_annotations import StatusOverride
from csidriver.core.refresh.state import (
    Effects,
    RefreshContext,
    TokenState,
    load_grant,
    load_source,
)
from csidriver.core.refresh.token_request import request_token
from csidriver.core.status import Status
from csidriver.errors import InvalidSecret, StoreConflict, StoreRefused

# Seconds until a second look when this process may not send: it stops, or another one works.
RECHECK = 1.0
# Seconds a token may be held back in its issuer's queue before that is worth telling.
LONG_PAUSE = 5.0


def reconcile(state: TokenState, context: RefreshContext) -> Effects[TokenState]:
    """Bring one token up to date with its source, its schedule and its companion.

    Returns what is known afterwards; `next_reconcile` says when to come again.

    Raises:
        StoreError, SpoolFailed: the surroundings failed; everything done so far is safe.
    """
    if not context.serves(state):
        # Its grant stays: the operator may enrol the namespace again, and it holds the only copy.
        return replace(state, next_reconcile=None)
    try:
        state = yield from load_grant(state, context)
        try:
            state = yield from load_source(state)
        except StoreRefused:
            # Who took the right away took no token back: what the spool holds is lost with the pod.
            state = yield from _recover_only(state, context)
            if context.serves(state):
                raise
            return replace(state, next_reconcile=None)
        if state.source is None:
            return (yield from delete_after_grace(state))
        return (
            yield from _reconcile_present(
                replace(state, source_deleted_at=None, requeue_at=None), context
            )
        )
    except StoreConflict:
        return (yield from _restart(state))


def _reconcile_present(state: TokenState, context: RefreshContext) -> Effects[TokenState]:
    """Custody, refresh, publication of a token whose source is there. Raises StoreConflict."""
    if state.grant_unreadable:
        return (
            yield from store_companion_and_mirror(
                state, context, _unusable_grant(state, context, UNREADABLE_GRANT_MESSAGE)
            )
        )
    state, override = yield from sync_from_source(state, context)
    if state.grant is not None and sendable_refresh_token(state.grant) is None:
        override = _unusable_grant(state, context, EMPTY_GRANT_MESSAGE)
    if state.grant is not None and not (override and override.blocks):
        issuer = bound_issuer(state.grant, context)
        if isinstance(issuer, Issuer):
            state = yield from refresh_if_due(state, issuer, context)
            if state.grant_stale:
                return (yield from _restart(state))
        else:
            override = StatusOverride(Status.MISCONFIGURED, issuer, blocks=True)
    return (yield from store_companion_and_mirror(state, context, override))


def refresh_if_due(
    state: TokenState, issuer: Issuer, context: RefreshContext
) -> Effects[TokenState]:
    """Settle an intent that was left behind, then refresh if the schedule says so."""
    state = yield from recover_intent(state, issuer, context)
    state = yield from check_duplicates(state)
    now = yield from Now()
    if state.grant is None or state.grant_stale:
        return state
    grant = reschedule_if_obsolete(state.grant, issuer, now)
    state = replace(state, grant=grant)
    if grant.next_refresh is None or now < grant.next_refresh or state.requeue_at is not None:
        return state
    token = sendable_refresh_token(grant)
    if token is None:
        raise InvalidSecret(f"grant of Secret {grant.ref}", ["holds no token that may be sent"])
    pause = yield from AcquireSendSlot(issuer, state.ref, grant.client)
    if pause > 0:
        grant = _delayed_by_limit(grant, pause, now, issuer)
        soon = now + (pause if math.isfinite(pause) else RECHECK)
        return replace(state, grant=grant, requeue_at=soon)
    return (yield from request_token(state, token, issuer, context))


def _delayed_by_limit(grant: Grant, pause: float, now: float, issuer: Issuer) -> Grant:
    """The grant while its issuer is spared: users are told once the token in hand runs short."""
    short = grant.expires_at - now < schedule.lead_time(effective_lifetime(grant, issuer)) / 2
    told = grant.status in (Status.READY, Status.PENDING)
    if not (short and told and LONG_PAUSE < pause < math.inf):
        return grant
    return replace(grant, status=Status.ISSUER_UNAVAILABLE, message=DELAYED_MESSAGE)


def _recover_only(state: TokenState, context: RefreshContext) -> Effects[TokenState]:
    """Store what an exchange of ours brought; the source has no part in that."""
    issuer = None if state.grant is None else bound_issuer(state.grant, context)
    if not isinstance(issuer, Issuer) or state.grant_unreadable or state.grant_missing_in_store:
        return state
    return (yield from recover_own_intent(state, issuer, context))


def _unusable_grant(state: TokenState, context: RefreshContext, message: str) -> StatusOverride:
    """Why nothing is sent for a grant that came to harm; what is left of it is not touched."""
    grant = f"{context.driver_namespace}/{state.ref.grant}"
    return StatusOverride(Status.INVALID, message.format(grant=grant), blocks=True)


def _restart(state: TokenState) -> Effects[TokenState]:
    """Somebody else wrote first: read everything again, at once, and decide anew."""
    now = yield from Now()
    return replace(state, source_stale=True, grant_stale=True, next_reconcile=now)
