"""Tokens of grants without a refresh token, from the source to the store (docs/protocol.md 10).

Their request consumes nothing: a crash before its outcome is stored costs one more request. So it
has no intent and no spool.
"""

import contextlib
from dataclasses import replace

from csidriver.core.annotations import GRANT_TYPE, ISSUER
from csidriver.core.names import SourceRef
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.issuer_selection import select_issuer
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.token_document import TokenDocument
from csidriver.core.oauth.token_form import Form, token_form
from csidriver.core.oauth.token_response import Failure, Success
from csidriver.core.refresh import adopt, messages, schedule
from csidriver.core.refresh.commit import commit, force_reread, recreate_grant
from csidriver.core.refresh.effects import FindLogin, GetSecret, Now, RequestRepeatable
from csidriver.core.refresh.grant import Grant, SourceToken, effective_lifetime, is_reseed
from csidriver.core.refresh.grant import adopt as grant_of
from csidriver.core.refresh.new_tokens import after_success
from csidriver.core.refresh.outcomes import after_failure
from csidriver.core.refresh.ownership import (
    RECHECK_SECONDS,
    bound_issuer,
    check_request,
    find_new_owner,
    with_ended_token_spent,
    without_access_token,
)
from csidriver.core.refresh.sending import derived
from csidriver.core.refresh.sending.params import REPEATABLE
from csidriver.core.refresh.source import Source, is_source
from csidriver.core.refresh.source_annotations import StatusOverride
from csidriver.core.refresh.state import Effects, RefreshContext, TokenState
from csidriver.core.refresh.token_request import acquire_slot, recover_own
from csidriver.core.status import Status
from csidriver.errors import InvalidSecret, LimitReached, NoIssuer, StoreConflict

# Fields of a document that would be wrong beside another access token.
_OF_ACCESS_TOKEN = ("access_token", "expires_at", "expires_in", "id_token", "scope", "token_type")
_OF_REFRESH_TOKEN = ("refresh_token", "refresh_expires_in", "refresh_token_expires_in")


def is_repeatable(state: TokenState) -> bool:
    """Return True if the source says so; one whose annotations are not known is as it was."""
    if state.source is None or state.source_data_omitted:
        return state.grant is not None and state.grant.grant_type.is_repeatable
    return state.source.annotations.get(GRANT_TYPE) in REPEATABLE


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
        yield from adopt.reserve_grant(state, context)
        deleted = yield from derived.is_deleted(ref, name, adopts=True)
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


def _may_lend_client(login: Grant, issuer: Issuer) -> bool:
    """Return False for a client that an edit has put into the login, which does not send it."""
    with contextlib.suppress(NoIssuer, InvalidSecret):
        check_request(login.ref, login.client, (), issuer)
        return _is_of(login, issuer)
    return False


def _is_bound(grant: Grant, login: Grant | None, context: RefreshContext) -> bool:
    """Return True if the issuer is the grant's still, and the login's if its client is used."""
    issuer = context.issuers.by_name.get(grant.issuer)
    owners = [grant] if grant.client.client_id or login is None else [grant, login]
    return issuer is None or all(_is_of(owner, issuer) for owner in owners)


def _select_issuer(
    source: Source, grant: Grant | None, login: Grant | None, context: RefreshContext
) -> Issuer:
    """Return the issuer that is named, else the login's, else the grant's. Raises NoIssuer."""
    if source.token_hash and (grant is None or is_reseed(grant, source)):
        # It may be sent one day, and then only to the issuer that it is of.
        issuer = adopt.select_source_issuer(source, context)
    else:
        name = source.issuer or (login or grant or source).issuer
        issuer = select_issuer(context.issuers, source.ref.namespace, name, "")
        check_request(source.ref, source.client, source.params, issuer)
    if grant and grant.live_hash and not _is_of(grant, issuer):
        raise NoIssuer(messages.KEPT_LOGIN_MESSAGE.format(issuer=grant.issuer, key=ISSUER))
    if login and not source.client.client_id and not _is_of(login, issuer):
        raise NoIssuer(messages.OTHER_ISSUER_MESSAGE.format(login=login.ref.name))
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
    begun = grant_of(replace(source, document=document), issuer, now, state.grant)
    if kept is not None:
        kept = with_ended_token_spent(kept)
        begun = replace(
            begun,
            seeds=kept.seeds,
            spent=kept.spent,
            inherited=kept.inherited,
            duplicate_of=kept.duplicate_of,
        )
    return (yield from adopt.store_adopted(state, begun, context))


def request_if_due(
    state: TokenState, issuer: Issuer, context: RefreshContext
) -> Effects[TokenState]:
    """Request an access token if that is due and permitted; for others wait for the login."""
    now = yield from Now()
    if state.grant is None or state.grant_stale:
        return state
    grant, login = schedule.reschedule_if_obsolete(state.grant, issuer, now), None
    if grant.login:
        login = yield from FindLogin(state.ref, SourceRef(state.ref.namespace, grant.login))
        if login and login.namespace_uid != grant.namespace_uid:
            login = None  # of an earlier namespace, and not reconciled since
        lends = grant.client.client_id or (login and _may_lend_client(login, issuer))
        if login is None or not lends or not derived.is_usable(login, now):
            return (yield from _wait_for_login(state, grant, login, now))
        if login.generation != grant.login_generation:
            grant = replace(grant, next_refresh=now)
    state = replace(state, grant=grant)
    if grant.next_refresh is None or grant.next_refresh > now or state.requeue_at is not None:
        return derived.blame_ended(state, login)
    client = login.client if login and not grant.client.client_id else grant.client
    state = yield from acquire_slot(state, grant, issuer, client, now)
    if state.requeue_at is not None:
        return state
    lifetime = effective_lifetime(grant, issuer)
    timeout = schedule.http_timeout(lifetime, context.timeouts, issuer.min_lead)
    subject = login.document.access_token if login else None
    form = token_form(issuer, grant.grant_type, subject, grant.params)
    outcome = yield from RequestRepeatable(issuer, client, form, timeout, state.ref)
    grant = replace(grant, login_generation=login.generation if login else 0)
    if isinstance(outcome, Success):
        # The lifetime counts from before the request.
        after = _after_reply(grant, login, form, outcome.reply, now, issuer)
    else:
        after = _after_failure(grant, login, outcome, (yield from Now()), issuer)
    return derived.blame_ended((yield from commit(state, grant, after)), login)


def _wait_for_login(
    state: TokenState, grant: Grant, login: Grant | None, now: float
) -> Effects[TokenState]:
    """Say that the token waits, if it is due; drop the access token if the login is deleted."""
    deleted = login is None and (yield from derived.is_deleted(state.ref, grant.login))
    if not deleted and (grant.next_refresh is None or grant.next_refresh > now):
        return derived.blame_ended(replace(state, grant=grant), login)
    state = replace(state, requeue_at=now + RECHECK_SECONDS)
    drops_token = deleted and grant.expires_at > 0
    waiting = without_access_token(grant, now) if drops_token else grant
    message = derived.waits_message(state.ref, grant.login, login, deleted=deleted)
    waiting = replace(waiting, status=Status.WAITS_FOR_LOGIN, message=message)
    if drops_token:
        return (yield from commit(state, grant, waiting))
    return replace(state, grant=waiting)


def _after_reply(
    grant: Grant, login: Grant | None, form: Form, reply: TokenDocument, now: float, issuer: Issuer
) -> Grant:
    """Return the grant with the access token of a reply, which may not exceed the login's."""
    excess = derived.excess(login, form, reply, issuer) if login else ""
    if not excess:
        return after_success(grant, reply.drop(*_OF_REFRESH_TOKEN), now, issuer)
    refused = Failure(FailureReason.INVALID_SCOPE)
    return replace(after_failure(grant, refused, now, issuer), message=excess)


def _after_failure(
    grant: Grant, login: Grant | None, failure: Failure, now: float, issuer: Issuer
) -> Grant:
    after = after_failure(grant, failure, now, issuer)
    if login is None or after.status is not Status.WAITS_FOR_LOGIN:
        return after
    message = derived.waits_message(login.ref, login.ref.name, login, refused=True)
    return replace(after, message=message)
