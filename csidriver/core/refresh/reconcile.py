"""The reconciliation of one token: the main function of the refresh protocol.

Threads drive the generator in production, virtual time drives it in tests. It is level-triggered:
it may run at any time and for any reason, and does only what is missing.
"""

import math
from dataclasses import replace

from csidriver.core.oauth.issuers import Issuer
from csidriver.core.refresh import messages
from csidriver.core.refresh.adopt import bound_issuer, delete_after_grace, sync_from_source
from csidriver.core.refresh.companion_update import store_companion_and_mirror
from csidriver.core.refresh.duplicates import check_duplicates
from csidriver.core.refresh.effects import AcquireSendSlot, Now
from csidriver.core.refresh.grant import Grant, effective_lifetime, sendable_refresh_token
from csidriver.core.refresh.outcomes import reschedule_if_obsolete
from csidriver.core.refresh.recovery import recover_intent, recover_own_intent
from csidriver.core.refresh.schedule import lead_time
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
from csidriver.errors import NoIssuer, StoreConflict, StoreRefused

# Seconds until the next check if this process may not send now: it stops, or is not the leader.
RECHECK = 1.0
# Seconds; the status does not mention a shorter pause of the issuer.
LONG_PAUSE = 5.0


def reconcile(state: TokenState, context: RefreshContext) -> Effects[TokenState]:
    """Bring one token up to date with its source, its schedule and its companion.

    `next_reconcile` of the result is the time of the next call.

    Raises:
        StoreError, SpoolFailed: the backend or the spool failed; everything done so far is safe.
    """
    if not context.serves(state):
        # Keep the grant, which may be the only copy: the operator may enrol the namespace again.
        return replace(state, next_reconcile=None)
    try:
        state = yield from load_grant(state, context)
        try:
            state = yield from load_source(state)
        except StoreRefused:
            # The spool is lost with the pod, so a reply in it must be stored without the source.
            state = yield from _recover_only(state, context)
            if context.serves(state):
                raise
            return replace(state, next_reconcile=None)
        if state.source is None:
            return (yield from delete_after_grace(state))
        state = replace(state, source_deleted_at=None, requeue_at=None)
        return (yield from _reconcile_present(state, context))
    except StoreConflict:
        return (yield from _restart(state))


def _reconcile_present(state: TokenState, context: RefreshContext) -> Effects[TokenState]:
    """Adopt, refresh, and write companion and mirror. Raises StoreConflict."""
    if state.grant_unreadable:
        unreadable = _unusable_grant(state, context, messages.UNREADABLE_GRANT_MESSAGE)
        return (yield from store_companion_and_mirror(state, context, unreadable))
    state, override = yield from sync_from_source(state, context)
    if state.grant is not None and sendable_refresh_token(state.grant) is None:
        override = _unusable_grant(state, context, messages.EMPTY_GRANT_MESSAGE)
    if state.grant is not None and not (override and override.blocks):
        try:
            issuer = bound_issuer(state.grant, context)
        except NoIssuer as error:
            override = StatusOverride(Status.MISCONFIGURED, str(error), blocks=True)
        else:
            state = yield from refresh_if_due(state, issuer, context)
            if state.grant_stale:
                return (yield from _restart(state))
    return (yield from store_companion_and_mirror(state, context, override))


def refresh_if_due(
    state: TokenState, issuer: Issuer, context: RefreshContext
) -> Effects[TokenState]:
    state = yield from recover_intent(state, issuer, context)
    state = yield from check_duplicates(state)
    now = yield from Now()
    if state.grant is None or state.grant_stale:
        return state
    grant = reschedule_if_obsolete(state.grant, issuer, now)
    state = replace(state, grant=grant)
    token = sendable_refresh_token(grant)
    is_due = grant.next_refresh is not None and grant.next_refresh <= now
    if token is None or not is_due or state.requeue_at is not None:
        return state
    pause = yield from AcquireSendSlot(issuer, state.ref, grant.client)
    if pause > 0:
        grant = _delayed_by_limit(grant, pause, now, issuer)
        requeue_at = now + (pause if math.isfinite(pause) else RECHECK)
        return replace(state, grant=grant, requeue_at=requeue_at)
    return (yield from request_token(state, grant, token, issuer, context))


def _delayed_by_limit(grant: Grant, pause: float, now: float, issuer: Issuer) -> Grant:
    """Return the grant with a status for the pause if its access token expires soon."""
    expires_soon = grant.expires_at - now < lead_time(effective_lifetime(grant, issuer)) / 2
    works = grant.status in (Status.READY, Status.PENDING)
    if not (expires_soon and works and LONG_PAUSE < pause < math.inf):
        return grant
    return replace(grant, status=Status.ISSUER_UNAVAILABLE, message=messages.DELAYED_MESSAGE)


def _recover_only(state: TokenState, context: RefreshContext) -> Effects[TokenState]:
    if state.grant is None or state.grant_unreadable or state.grant_missing_in_store:
        return state
    try:
        issuer = bound_issuer(state.grant, context)
    except NoIssuer:
        return state
    return (yield from recover_own_intent(state, issuer, context))


def _unusable_grant(state: TokenState, context: RefreshContext, message: str) -> StatusOverride:
    grant = f"{context.driver_namespace}/{state.ref.grant}"
    return StatusOverride(Status.INVALID, message.format(grant=grant), blocks=True)


def _restart(state: TokenState) -> Effects[TokenState]:
    """Read everything again at once, after another process wrote first."""
    now = yield from Now()
    return replace(state, source_stale=True, grant_stale=True, next_reconcile=now)
