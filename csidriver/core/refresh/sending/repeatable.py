"""Token requests that may be repeated (docs/protocol.md 10).

They consume nothing: a crash before the outcome is stored costs one more request. So there is no
intent, no spool, and nothing to recover.
"""

from dataclasses import replace

from csidriver.core.names import SourceRef
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.token_document import TokenDocument
from csidriver.core.oauth.token_form import Form, client_credentials_form, token_exchange_form
from csidriver.core.oauth.token_response import Failure, Success
from csidriver.core.refresh import schedule
from csidriver.core.refresh.commit import commit
from csidriver.core.refresh.effects import FindLogin, Now, RequestRepeatable
from csidriver.core.refresh.grant import Grant, effective_lifetime
from csidriver.core.refresh.new_tokens import after_success
from csidriver.core.refresh.outcomes import after_failure
from csidriver.core.refresh.ownership import RECHECK_SECONDS, without_access_token
from csidriver.core.refresh.sending import derived
from csidriver.core.refresh.sending.reschedule import reschedule_if_obsolete
from csidriver.core.refresh.sending.send_slot import acquire_slot
from csidriver.core.refresh.state import Effects, RefreshContext, TokenState
from csidriver.core.status import Status

_OF_REFRESH_TOKEN = ("refresh_token", "refresh_expires_in", "refresh_token_expires_in")


def request_if_due(
    state: TokenState, issuer: Issuer, context: RefreshContext
) -> Effects[TokenState]:
    """Request an access token if that is due and permitted; for others wait for the login."""
    now = yield from Now()
    if state.grant is None or state.grant_stale:
        return state
    grant, login = reschedule_if_obsolete(state.grant, issuer, now), None
    if grant.login:
        login = yield from FindLogin(state.ref, SourceRef(state.ref.namespace, grant.login))
        if login is None or not derived.is_usable(login, now):
            return (yield from _wait_for_login(state, grant, login, now))
        if login.generation != grant.login_generation:
            grant = replace(grant, next_refresh=now)
    state = replace(state, grant=grant)
    if grant.next_refresh is None or grant.next_refresh > now or state.requeue_at is not None:
        return state
    client = login.client if login and not grant.client.client_id else grant.client
    state = yield from acquire_slot(state, grant, issuer, client, now)
    if state.requeue_at is not None:
        return state
    lifetime = effective_lifetime(grant, issuer)
    timeout = schedule.http_timeout(lifetime, context.timeouts, issuer.min_lead)
    form = _form(grant, login, issuer)
    outcome = yield from RequestRepeatable(issuer, client, form, timeout, state.ref)
    grant = replace(grant, login_generation=login.generation if login else 0)
    if isinstance(outcome, Success):
        # The lifetime counts from before the request.
        after = _after_reply(grant, login, form, outcome.reply, now, issuer)
    else:
        after = _after_failure(grant, login, outcome, (yield from Now()), issuer)
    return (yield from commit(state, grant, after))


def _wait_for_login(
    state: TokenState, grant: Grant, login: Grant | None, now: float
) -> Effects[TokenState]:
    """Say that the token waits, if it is due; drop the access token if the login is deleted."""
    deleted = login is None and (yield from derived.is_deleted(state.ref, grant.login))
    if not deleted and (grant.next_refresh is None or grant.next_refresh > now):
        return replace(state, grant=grant)
    state = replace(state, requeue_at=now + RECHECK_SECONDS)
    had_token = grant.expires_at > 0
    waiting = without_access_token(grant, now) if deleted else grant
    waiting = replace(
        waiting,
        status=Status.WAITS_FOR_LOGIN,
        message=derived.waits_message(state.ref, grant.login, login, deleted=deleted),
    )
    if deleted and had_token:
        return (yield from commit(state, grant, waiting))
    return replace(state, grant=waiting)


def _form(grant: Grant, login: Grant | None, issuer: Issuer) -> Form:
    subject = None if login is None else login.document.access_token
    if subject is None:
        return client_credentials_form(issuer, grant.params)
    return token_exchange_form(issuer, subject, grant.params)


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
    return replace(after, message=derived.refused_message(login))
