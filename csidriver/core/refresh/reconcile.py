"""The reconciliation of one token: the main function of the refresh protocol.

Threads drive the generator in production, virtual time drives it in tests. It is level-triggered:
it may run at any time and for any reason, and does only what is missing.
"""

import contextlib
from dataclasses import replace

from csidriver.core.login_command import ask_for_login
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.refresh import messages
from csidriver.core.refresh.adopt import delete_after_grace, sync_from_source
from csidriver.core.refresh.companion_update import (
    store_companion,
    store_companion_and_mirror,
)
from csidriver.core.refresh.effects import GetSecret, Monotonic, Now, ReserveGrant
from csidriver.core.refresh.grant import Grant, sendable_refresh_token
from csidriver.core.refresh.grant_secret import from_secret
from csidriver.core.refresh.outcomes import status_due_at, with_status_due
from csidriver.core.refresh.ownership import bound_issuer, find_new_owner
from csidriver.core.refresh.sending.repeatable import (
    is_repeatable,
    request_if_due,
    sync_repeatable,
)
from csidriver.core.refresh.source import is_source
from csidriver.core.refresh.source_annotations import StatusOverride, withholds_token
from csidriver.core.refresh.state import Effects, RefreshContext, TokenState
from csidriver.core.refresh.token_request import recover_own, refresh_if_due
from csidriver.core.status import Status
from csidriver.errors import InvalidSecret, NoIssuer, SpoolFailed, StoreConflict, StoreRefused


def reconcile(state: TokenState, context: RefreshContext) -> Effects[TokenState]:
    """Bring one token up to date with its source, its schedule and its companion.

    `next_reconcile` of the result is the time of the next call.

    Raises:
        StoreError, SpoolFailed: the backend or the spool failed; everything done so far is safe.
    """
    if not context.serves(state):
        # Keep the grant, which may be the only copy: the operator may enrol the namespace again.
        return replace(state, next_reconcile=None)
    state = replace(state, own_versions=(), requeue_at=None)
    try:
        state = yield from _load_grant(state, context)
        most = context.tokens_per_namespace
        if _waits_for_others(state) and not (yield from ReserveGrant(state.ref, most)):
            return replace(state, next_reconcile=None)
        try:
            state = yield from _load_source(state)
        except StoreRefused:
            # The spool is lost with the pod, so a reply in it must be stored without the source.
            state = yield from _recover_only(state, context)
            if context.serves(state):
                yield from _update_companion_status(state, context)
                raise
            return replace(state, next_reconcile=None)
        if state.source is None:
            return (yield from delete_after_grace(state, context))
        state = replace(state, source_deleted_at=None, status_due_at=None)
        return (yield from _reconcile_present(state, context))
    except StoreConflict:
        return (yield from _restart(state))


def _reconcile_present(state: TokenState, context: RefreshContext) -> Effects[TokenState]:
    """Adopt, refresh, and write companion and mirror. Raises StoreConflict."""
    if state.grant_unreadable:
        # A later namespace gets nothing of the grant that this process remembers.
        state, new_owner = yield from find_new_owner(state)
        unreadable = _unusable_grant(state, context, messages.UNREADABLE_GRANT_MESSAGE)
        unreadable = replace(unreadable, withholds_token=bool(new_owner))
        state = replace(state, grant_withheld=bool(new_owner))
        return (yield from store_companion_and_mirror(state, context, unreadable))
    sync = sync_repeatable if is_repeatable(state) else sync_from_source
    state, override = yield from sync(state, context)
    if state.source_stale:
        return state
    withholds = withholds_token(override)
    state = replace(state, grant_withheld=withholds)
    if state.grant and not (withholds or _is_usable(state.grant)):
        override = _unusable_grant(state, context, messages.EMPTY_GRANT_MESSAGE)
    if state.grant is not None and not (override and override.blocks):
        try:
            issuer = bound_issuer(state.grant, context)
        except (NoIssuer, InvalidSecret) as error:
            override = StatusOverride.of_error(error, blocks=True)
        else:
            return (yield from _send_and_store(state, override, issuer, context))
    return (yield from store_companion_and_mirror(state, context, override))


def _send_and_store(
    state: TokenState, override: StatusOverride | None, issuer: Issuer, context: RefreshContext
) -> Effects[TokenState]:
    """Send a token request if it is due, then write companion and mirror."""
    repeats = state.grant is not None and state.grant.grant_type.is_repeatable
    send_if_due = request_if_due if repeats else refresh_if_due
    try:
        state = yield from send_if_due(state, issuer, context)
    except (SpoolFailed, StoreRefused):
        # Nothing can be sent or stored, but the status must not become a lie. The spool may have a
        # reply that is newer than the entry that was to be cleared.
        state = yield from _with_status_due(replace(state, spooled=False), issuer)
        yield from store_companion_and_mirror(state, context, override)
        raise
    if state.grant_stale:
        return (yield from _restart(state))
    state = yield from _with_status_due(state, issuer)
    return (yield from store_companion_and_mirror(state, context, override))


def _waits_for_others(state: TokenState) -> bool:
    """Return True for an unchanged source without a grant, which is read only if there is room."""
    unchanged = state.source_data_dropped and not state.source_stale and state.annotate_at is None
    return unchanged and state.grant is None and state.grant_secret is None


def _load_source(state: TokenState) -> Effects[TokenState]:
    # For a grant that was deleted, only the source tells whether a newer token exists.
    if not (state.source_stale or state.source_data_dropped or state.grant_missing_in_store):
        return state
    source = yield from GetSecret(state.ref.namespace, state.ref.name)
    if source is not None and not is_source(source):
        source = None
    return replace(state, source_stale=False).with_read_source(source)


def _load_grant(state: TokenState, context: RefreshContext) -> Effects[TokenState]:
    """Read grant and companion if one of them changed. Raises StoreError."""
    if not state.grant_stale:
        return state
    secret = yield from GetSecret(context.driver_namespace, state.ref.grant)
    companion = yield from GetSecret(context.tokens_namespace, state.ref.companion)
    read_at = yield from Monotonic()
    stored, unreadable = None, False
    try:
        stored = None if secret is None else from_secret(secret)
    except InvalidSecret:
        unreadable = True
    missing = not unreadable and state.grant is not None and _is_older(stored, state.grant)
    return replace(
        state,
        grant_secret=secret,
        # If a user deletes the unreadable grant, the remembered one is written again.
        grant=state.grant if missing or unreadable else stored,
        grant_missing_in_store=missing,
        grant_unreadable=unreadable,
        read_at=read_at,
        companion=companion,
        grant_stale=False,
    )


def _is_older(stored: Grant | None, remembered: Grant) -> bool:
    """Return True if the grant was deleted or replaced by an older copy."""
    if stored is None or stored.generation < remembered.generation:
        return True
    return stored.generation == remembered.generation and stored.live_hash in remembered.spent


def _with_status_due(state: TokenState, issuer: Issuer) -> Effects[TokenState]:
    now = yield from Now()
    if state.grant is None:
        return state
    grant = with_status_due(state.grant, issuer, now)
    return replace(state, grant=grant, status_due_at=status_due_at(grant, issuer))


def _update_companion_status(state: TokenState, context: RefreshContext) -> Effects[None]:
    """Keep the companion's status true while the source cannot be read."""
    grant, source = state.grant, state.source
    if grant is None or state.grant_unreadable:
        return
    # Only reading the source could tell whose it is after a deletion.
    if state.source_deleted_at is not None or (source and source.uid != grant.source_uid):
        return
    with contextlib.suppress(NoIssuer, InvalidSecret):
        issuer = bound_issuer(grant, context)
        state = yield from _with_status_due(state, issuer)
        now = yield from Now()
        yield from store_companion(state, context, None, now)


def _recover_only(state: TokenState, context: RefreshContext) -> Effects[TokenState]:
    if state.grant is None or state.grant_unreadable or state.grant_missing_in_store:
        return state
    try:
        issuer = bound_issuer(state.grant, context)
    except (NoIssuer, InvalidSecret):
        return state
    return (yield from recover_own(state, issuer, context))


def recover_spooled(name: str, context: RefreshContext) -> Effects[None]:
    """Store the reply in this process's spool to the token of grant `name`; send nothing.

    Raises:
        StoreError: the reply is still in the spool.
    """
    secret = yield from GetSecret(context.driver_namespace, name)
    read_at = yield from Monotonic()
    with contextlib.suppress(InvalidSecret):
        grant = None if secret is None else from_secret(secret)
        if grant is not None:
            state = TokenState(grant.ref, grant_secret=secret, grant=grant, read_at=read_at)
            yield from _recover_only(state, context)


def _is_usable(grant: Grant) -> bool:
    """Return True if the grant can be sent, or says itself why not."""
    says_why = grant.status is Status.LOST_ROTATION
    return grant.grant_type.is_repeatable or says_why or sendable_refresh_token(grant) is not None


def _unusable_grant(state: TokenState, context: RefreshContext, message: str) -> StatusOverride:
    grant = f"{context.driver_namespace}/{state.ref.grant}"
    text = ask_for_login(message.format(grant=grant), state.ref)
    return StatusOverride(Status.INVALID, text, blocks=True)


def _restart(state: TokenState) -> Effects[TokenState]:
    """Read everything again at once, after another process wrote first."""
    now = yield from Now()
    return replace(state, source_stale=True, grant_stale=True, next_reconcile=now)
