"""Adoption of a source and its edits, and the deletion of its grant (docs/protocol.md 2, 3)."""

from dataclasses import replace

from csidriver.core import companion
from csidriver.core.login_command import ask_for_login
from csidriver.core.oauth.grant_type import GrantType
from csidriver.core.oauth.issuer_selection import select_issuer
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.jwt import unverified_claims
from csidriver.core.refresh import effects, messages
from csidriver.core.refresh.commit import (
    create_or_store,
    force_reread,
    recreate_grant,
    store_grant,
)
from csidriver.core.refresh.companion_update import (
    own_companion,
    store_companion,
    store_companion_and_mirror,
)
from csidriver.core.refresh.grant import Grant, SourceToken, adopt, compare_source
from csidriver.core.refresh.ownership import (
    check_request,
    find_new_owner,
    get_namespace_uid,
    keep_owner,
    without_access_token,
)
from csidriver.core.refresh.schedule import min_interval, reschedule_if_requested
from csidriver.core.refresh.source import Source
from csidriver.core.refresh.source_annotations import StatusOverride
from csidriver.core.refresh.state import Effects, RefreshContext, TokenState
from csidriver.core.status import Status, TokenWarning
from csidriver.errors import InvalidSecret, LimitReached, NoIssuer

# Seconds that grant and companion outlive their source: a user or GitOps may re-create it.
DELETE_GRACE = 600.0
# Seconds between two reseeds of a grant; the first is free.
RESEED_INTERVAL = 10.0


def sync_from_source(
    state: TokenState, context: RefreshContext
) -> Effects[tuple[TokenState, StatusOverride | None]]:
    """Adopt a new or reseeded source, or merge an edit of the present one.

    The second result says why the source cannot be used. A source of which only the version is
    known has not changed. One that comes too soon after the last one is stale: read it again later.
    """
    state, new_owner = yield from find_new_owner(state)
    if new_owner:
        return (yield from _sync_from_new_owner(state, new_owner, context))
    return (yield from _sync_from_owner(state, context))


def _sync_from_owner(
    state: TokenState, context: RefreshContext
) -> Effects[tuple[TokenState, StatusOverride | None]]:
    secret = state.source
    if secret is None or state.source_data_omitted:
        return state, None
    state = drop_if_superseded(state)
    try:
        source = Source.parse(secret)
    except InvalidSecret as error:
        state = yield from force_reread((yield from recreate_grant(state, context)))
        return state, StatusOverride.of_error(error, blocks=False)
    grant = state.grant
    token = SourceToken.NEW if grant is None else compare_source(grant, source)
    if grant is not None and token is not SourceToken.NEW:
        state = yield from recreate_grant(state, context)
        return (yield from store_source_edit(state, grant, source, token))
    now = yield from effects.Now()
    if grant is not None and len(grant.seeds) > 1 and 0 <= now - grant.adopted_at < RESEED_INTERVAL:
        # Not the first reseed: whoever edits in a loop causes no request and no write with each.
        at = grant.adopted_at + RESEED_INTERVAL
        return replace(state, source_stale=True, next_reconcile=at), None
    try:
        issuer = select_source_issuer(source, context)
        yield from reserve_grant(state, context)
    except (NoIssuer, InvalidSecret, LimitReached) as error:
        state = yield from force_reread((yield from recreate_grant(state, context)))
        return state, StatusOverride.of_error(error, blocks=grant is None)
    return (yield from _adopt(state, source, issuer, context)), None


def reserve_grant(state: TokenState, context: RefreshContext) -> Effects[None]:
    namespace, most = state.ref.namespace, context.tokens_per_namespace
    if state.grant is None and not (yield from effects.ReserveGrant(state.ref, most)):
        raise LimitReached(messages.TOO_MANY_MESSAGE.format(namespace=namespace, most=most))


def _sync_from_new_owner(
    state: TokenState, namespace_uid: str, context: RefreshContext
) -> Effects[tuple[TokenState, StatusOverride | None]]:
    """Adopt the source of a later namespace, or withhold the earlier grant's token from it."""
    if state.grant is None or state.source is None:
        return state, None
    try:
        source = Source.parse(state.source)
        issuer = select_source_issuer(source, context)
    except (NoIssuer, InvalidSecret) as error:
        return state, StatusOverride.of_error(error, blocks=True, withholds_token=True)
    token = compare_source(state.grant, source)
    if token is SourceToken.OLD:
        text = ask_for_login(messages.EARLIER_NAMESPACE_MESSAGE, state.ref)
        return state, _withheld(Status.NEEDS_REAUTH, text)
    if token is SourceToken.NEW:
        return (yield from _adopt(state, source, issuer, context)), None
    # Who has the live token owns the login, whose spent tokens and intent stay known.
    now = yield from effects.Now()
    grant = _restarted(replace(state.grant, namespace_uid=namespace_uid), now)
    state = yield from recreate_grant(replace(state, grant=grant), context)
    return (yield from store_source_edit(state, grant, source, token))


def _restarted(grant: Grant, now: float) -> Grant:
    """Return the grant of a refresh token that was not sent for some time, or not for this user.

    The login may have moved to another Secret meanwhile, which then was first.
    """
    grant = replace(grant, adopted_at=now, grant_type=GrantType.REFRESH_TOKEN, params=(), login="")
    grant = without_access_token(grant, now)
    if grant.live_hash not in grant.spent:
        return grant
    # Only a reply to it helps that some process still has.
    message = messages.LOST_ROTATION_MESSAGE
    return replace(grant, status=Status.LOST_ROTATION, message=message, next_refresh=None)


def _withheld(status: Status, message: str) -> StatusOverride:
    return StatusOverride(status, message, blocks=True, withholds_token=True)


def select_source_issuer(source: Source, context: RefreshContext) -> Issuer:
    iss = unverified_claims(source.document.access_token).iss
    issuer = select_issuer(context.issuers, source.ref.namespace, source.issuer, iss)
    check_request(source.ref, source.client, source.params, issuer)
    return issuer


def drop_if_superseded(state: TokenState) -> TokenState:
    """Forget a deleted grant if nodes have seen a later generation (section 2.7)."""
    if (
        state.grant_missing_in_store
        and state.grant
        and companion.generation_of(state.companion) > state.grant.generation
    ):
        return replace(state, grant=None, grant_missing_in_store=False)
    return state


def store_source_edit(
    state: TokenState, grant: Grant, source: Source, token: SourceToken
) -> Effects[tuple[TokenState, StatusOverride | None]]:
    """Merge an edit. Store it only if our annotations would hide it from a restart."""
    now = yield from effects.Now()
    merged = _merge_source_edit(grant, source, token, now)
    if source.issuer and source.issuer != merged.issuer:
        state = yield from force_reread(replace(state, grant=merged))
        text = f"the token belongs to issuer {merged.issuer!r}, the annotation names another one"
        text = ask_for_login(f"{text}; restore the annotation, or log in there", state.ref)
        return state, StatusOverride(Status.MISCONFIGURED, text, blocks=True)
    merged = replace(merged, source_version=_source_version(state))
    stored = (grant.source_uid, grant.client, grant.key, grant.next_refresh, grant.grant_type)
    if (source.uid, source.client, source.key, merged.next_refresh, source.grant_type) != stored:
        return (yield from store_grant(state, merged)), None
    return replace(state, grant=merged), None


def _merge_source_edit(grant: Grant, source: Source, token: SourceToken, now: float) -> Grant:
    warning = grant.warning if grant.warning != TokenWarning.OLD_SEED_RESTORED.value else ""
    if token is SourceToken.OLD:
        warning = TokenWarning.OLD_SEED_RESTORED.value
    if grant.status is Status.CLIENT_REJECTED and grant.client != source.client:
        soon = now + min_interval(grant.lifetime)
        grant = replace(grant, failures=0, next_refresh=min(soon, grant.next_refresh or soon))
    if grant.grant_type is not source.grant_type:
        grant = _restarted(grant, now)
    grant = reschedule_if_requested(grant, source.refresh_requested_at, now)
    return replace(
        grant, source_uid=source.uid, client=source.client, key=source.key, warning=warning
    )


def _source_version(state: TokenState) -> str:
    return "" if state.source is None else state.source.resource_version


def _adopt(
    state: TokenState, source: Source, issuer: Issuer, context: RefreshContext
) -> Effects[TokenState]:
    now = yield from effects.Now()
    return (yield from store_adopted(state, adopt(source, issuer, now, state.grant), context))


def store_adopted(state: TokenState, grant: Grant, context: RefreshContext) -> Effects[TokenState]:
    """Store the grant of a source that was just adopted, and tell nodes why they wait."""
    grant = replace(
        grant,
        source_version=_source_version(state),
        namespace_uid=(yield from get_namespace_uid(state.ref)),
    )
    # Grants may have been lost while companions were not: a companion's generation never falls.
    grant = replace(
        grant, generation=max(grant.generation, companion.generation_of(state.companion) + 1)
    )
    # Register this grant before the slow writes: a copy adopted meanwhile is younger and must find
    # this one before it sends.
    yield from effects.FindDuplicates(state.ref, grant.adopted_at, grant.token_hashes)
    same_token = state.grant is not None and state.grant.live_hash == grant.live_hash
    reseeded = state.grant_secret is not None and not same_token
    state = yield from create_or_store(state, grant, context)
    if reseeded:
        # A reply to the replaced token is useless.
        yield from effects.SpoolClear(state.ref)
    state = replace(state, mirrored_generation=grant.generation, mirror_refused_at=None)
    # Tell nodes why they wait before the first request, which may take long.
    return (yield from store_companion_and_mirror(state, context, None))


def delete_after_grace(state: TokenState, context: RefreshContext) -> Effects[TokenState]:
    """Delete grant and companion when the source has been absent for the grace period.

    Until then only the pods that run have the last access token.
    """
    if state.grant is None and state.grant_secret is None and state.companion is None:
        return replace(state, next_reconcile=None)
    now = yield from effects.Now()
    since = now if state.source_deleted_at is None else state.source_deleted_at
    if now < since + DELETE_GRACE:
        if own_companion(state) is not None:
            deleted = _withheld(Status.INVALID, ask_for_login(messages.DELETED_MESSAGE, state.ref))
            state, _ = yield from store_companion(state, context, deleted, now)
        state = yield from keep_owner(state)
        # Read the source again before deleting: the watch may have missed its return.
        at = since + DELETE_GRACE
        return replace(state, source_deleted_at=since, source_stale=True, next_reconcile=at)
    for secret in (own_companion(state), state.grant_secret):
        if secret is not None:
            yield from effects.DeleteSecret(secret)
    yield from effects.SpoolClear(state.ref)
    return TokenState(state.ref, source_stale=False, grant_stale=False)
