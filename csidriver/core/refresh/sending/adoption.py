"""Adoption of a source whose grant has no refresh token (docs/protocol.md 10.1-10.4)."""

import contextlib
from dataclasses import replace

from csidriver.core.annotations import GRANT_TYPE, ISSUER
from csidriver.core.oauth.grant_type import GrantType
from csidriver.core.oauth.issuer_selection import select_issuer
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.refresh import adopt, messages
from csidriver.core.refresh.commit import force_reread, recreate_grant
from csidriver.core.refresh.effects import GetSecret, Now
from csidriver.core.refresh.grant import Grant, SourceToken, is_reseed
from csidriver.core.refresh.grant import adopt as adopt_source
from csidriver.core.refresh.ownership import RECHECK_SECONDS, find_new_owner
from csidriver.core.refresh.sending import derived
from csidriver.core.refresh.sending.request_checks import bound_issuer, check_request
from csidriver.core.refresh.source import Source, is_source
from csidriver.core.refresh.source_annotations import StatusOverride
from csidriver.core.refresh.state import Effects, RefreshContext, TokenState
from csidriver.core.refresh.token_request import recover_own
from csidriver.core.status import Status
from csidriver.errors import InvalidSecret, LimitReached, NoIssuer, StoreConflict

# Fields of a document that would be wrong beside another access token.
_OF_ACCESS_TOKEN = ("access_token", "expires_at", "expires_in", "id_token", "scope", "token_type")
_REPEATABLE = frozenset(kind.value for kind in GrantType if kind.is_repeatable)


def is_repeatable(state: TokenState) -> bool:
    """Return True if the source says so, or cannot be used and its grant is repeatable."""
    is_now = state.grant is not None and state.grant.grant_type.is_repeatable
    if state.source is None or state.source_data_omitted:
        return is_now
    if state.source.annotations.get(GRANT_TYPE) in _REPEATABLE:
        return True
    try:
        Source.parse(state.source)
    except InvalidSecret:
        return is_now
    return False


def sync_repeatable(
    state: TokenState, context: RefreshContext
) -> Effects[tuple[TokenState, StatusOverride | None]]:
    """Adopt a new or changed source. The second result says why it cannot be used."""
    state, new_owner = yield from find_new_owner(state)
    state = adopt.drop_if_superseded(state)
    # A later namespace gets nothing of the earlier grant.
    grant = None if new_owner else state.grant
    try:
        return (yield from _sync(state, grant, context))
    except (NoIssuer, InvalidSecret, LimitReached) as error:
        if new_owner:
            return state, StatusOverride.of_error(error, blocks=True, withholds_token=True)
        state = yield from force_reread((yield from recreate_grant(state, context)))
        return state, StatusOverride.of_error(error, blocks=not isinstance(error, InvalidSecret))


def _sync(
    state: TokenState, grant: Grant | None, context: RefreshContext
) -> Effects[tuple[TokenState, StatusOverride | None]]:
    secret, ref = state.source, state.ref
    source = None if secret is None or state.source_data_omitted else Source.parse(secret)
    name = source.login if source else grant.login if grant else ""
    login = (yield from derived.find_login(ref, name)) if name else None
    if source is None and grant is not None and not _is_bound(grant, login, context):
        secret = yield from GetSecret(ref.namespace, ref.name)
        if secret is not None and is_source(secret):
            state, source = state.with_read_source(secret), Source.parse(secret)
    if source is None:
        return state, None
    if name and login is None and grant is None:
        deleted = yield from derived.is_deleted(ref, name)
        message = derived.waits_message(ref, name, None, deleted=deleted)
        now = yield from Now()
        override = StatusOverride(Status.WAITS_FOR_LOGIN, message, True, state.grant is not None)
        return replace(state, requeue_at=now + RECHECK_SECONDS), override
    issuer = _select_issuer(source, grant, login, context)
    if grant is not None and _is_same(grant, source, issuer):
        state = yield from recreate_grant(state, context)
        return (yield from adopt.store_source_edit(state, grant, source, SourceToken.LIVE))
    return (yield from _adopt(state, grant, source, issuer, context)), None


def _is_of(grant: Grant, issuer: Issuer) -> bool:
    return (grant.issuer, grant.issuer_identity) == (issuer.name, issuer.identifier)


def _is_bound(grant: Grant, login: Grant | None, context: RefreshContext) -> bool:
    """Return True if the issuer is the grant's still, and the login's if its client is used."""
    issuer = context.issuers.by_name.get(grant.issuer)
    if issuer is None or (_is_of(grant, issuer) and grant.client.client_id):
        return True
    return _is_of(grant, issuer) and (login is None or _is_of(login, issuer))


def _select_issuer(
    source: Source, grant: Grant | None, login: Grant | None, context: RefreshContext
) -> Issuer:
    """Return the issuer that is named, else the login's, else the grant's. Raises NoIssuer."""
    if source.refresh_token and (grant is None or is_reseed(grant, source)):
        # It may be sent one day, and then only to the issuer that it is of.
        issuer = adopt.select_source_issuer(source, context)
    else:
        name = source.issuer or (login or grant or source).issuer
        issuer = select_issuer(context.issuers, source.ref.namespace, name, "")
        check_request(source.ref, source.client, source.params, issuer)
    if grant and grant.live_hash and not _is_of(grant, issuer):
        raise NoIssuer(messages.KEPT_LOGIN_MESSAGE.format(issuer=grant.issuer, key=ISSUER))
    if login and not source.client.client_id and not _is_of(login, issuer):
        raise NoIssuer(messages.OTHER_ISSUER_MESSAGE.format(login=f"Secret {login.ref.name}"))
    return issuer


def _is_same(grant: Grant, source: Source, issuer: Issuer) -> bool:
    """Return True if the access token of the grant is what the source asks for."""
    asked = (source.grant_type, source.params, source.login, source.client.client_id)
    had = (grant.grant_type, grant.params, grant.login, grant.client.client_id)
    return asked == had and _is_of(grant, issuer) and not is_reseed(grant, source)


def _adopt(
    state: TokenState,
    grant: Grant | None,
    source: Source,
    issuer: Issuer,
    context: RefreshContext,
) -> Effects[TokenState]:
    """Begin anew. A refresh token that the grant has stays in it, and is not sent."""
    now = yield from Now()
    if grant is not None and 0 <= now - grant.adopted_at < adopt.RESEED_INTERVAL:
        at = grant.adopted_at + adopt.RESEED_INTERVAL
        return replace(state, source_stale=True, next_reconcile=at)
    yield from adopt.reserve_grant(state, context)
    if grant is not None and not grant.grant_type.is_repeatable:
        with contextlib.suppress(NoIssuer, InvalidSecret):
            state = yield from recover_own(state, bound_issuer(grant, context), context)
        if state.grant_stale:
            raise StoreConflict(f"the grant of Secret {state.ref} has changed")
    kept = None if grant is None or is_reseed(grant, source) else state.grant
    document = (kept or source).document.drop(*_OF_ACCESS_TOKEN)
    begun = adopt_source(replace(source, document=document), issuer, now, state.grant)
    if kept is not None:
        seeds, spent, inherited = kept.seeds, kept.spent, kept.inherited
        begun = replace(begun, seeds=seeds, spent=spent, inherited=inherited)
    return (yield from adopt.store_adopted(state, begun, context))
