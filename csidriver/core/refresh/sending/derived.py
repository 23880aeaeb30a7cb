"""Tokens that are made from the access token of another source, their login (protocol 10)."""

from dataclasses import replace

from csidriver.core.annotations import GRANT_TYPE, LOGIN, SCOPE
from csidriver.core.login_command import describe_command
from csidriver.core.names import SourceRef
from csidriver.core.oauth.grant_type import GrantType
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.jwt import unverified_claims
from csidriver.core.oauth.token_document import TokenDocument
from csidriver.core.oauth.token_form import Form
from csidriver.core.quoting import quote_untrusted
from csidriver.core.refresh import messages
from csidriver.core.refresh.effects import FindLogin, GetSecret
from csidriver.core.refresh.grant import Grant
from csidriver.core.refresh.source import is_source
from csidriver.core.refresh.state import Effects, TokenState
from csidriver.core.status import Status
from csidriver.errors import NoIssuer

_AUDIENCES = ("audience", "resource")


def find_login(ref: SourceRef, name: str) -> Effects[Grant | None]:
    """Return the login's grant, None without one. Raises NoIssuer if it cannot be a login."""
    if name == ref.name:
        raise _nested(name)
    login = yield from FindLogin(ref, SourceRef(ref.namespace, name))
    if login and login.grant_type is GrantType.TOKEN_EXCHANGE:
        raise _nested(name)
    return login


def _nested(name: str) -> NoIssuer:
    return NoIssuer(messages.NESTED_LOGIN_MESSAGE.format(key=LOGIN, login=name))


def is_deleted(ref: SourceRef, name: str, *, adopts: bool = False) -> Effects[bool]:
    """Return True if the login does not exist, or is no source any more.

    Two that name each other never have a grant that tells so: raises NoIssuer if `adopts`.
    """
    secret = yield from GetSecret(ref.namespace, name)
    kind = None if secret is None else secret.annotations.get(GRANT_TYPE)
    if adopts and kind == GrantType.TOKEN_EXCHANGE.value:
        raise _nested(name)
    return secret is None or not is_source(secret)


def is_usable(login: Grant, now: float) -> bool:
    is_nested = login.grant_type is GrantType.TOKEN_EXCHANGE
    return login.expires_at > now and login.access_token(now) is not None and not is_nested


def waits_message(
    ref: SourceRef, name: str, login: Grant | None, *, deleted: bool = False, refused: bool = False
) -> str:
    """Return the message of a token that waits for its login."""
    state = "does not exist" if deleted else "has no token yet"
    if login:
        works = refused or login.status is not Status.READY
        state = f"is {login.status.value}" if works else "has no usable token"
    if refused:
        state += ", but the authorization server refuses its access token"
    command = describe_command(SourceRef(ref.namespace, name))
    return messages.WAITS_MESSAGE.format(login=name, state=state, command=command)


def blame_ended(state: TokenState, login: Grant | None) -> TokenState:
    """Say that a failing token waits for its login, if that has ended.

    Servers refuse a dead login's token as they refuse a faulty request (RFC 8693 section 2.2.2).
    """
    grant = state.grant
    if login is None or grant is None or grant.status is Status.READY:
        return state
    if login.status not in (Status.NEEDS_REAUTH, Status.LOST_ROTATION):
        return state
    message = waits_message(state.ref, grant.login, login)
    return replace(state, grant=replace(grant, status=Status.WAITS_FOR_LOGIN, message=message))


def excess(login: Grant, form: Form, reply: TokenDocument, issuer: Issuer) -> str:
    """Return why the token of a reply may do more than was asked for, "" if nothing tells so."""
    name, limits = login.ref.name, issuer.token_exchange
    had, got = _scope(login.document), _scope(reply)
    wider = sorted(got - had) if had else []
    if wider and not limits.wider_scope:
        words = quote_untrusted(" ".join(wider))
        return messages.WIDER_SCOPE_MESSAGE.format(login=name, words=words, key=SCOPE)
    asked = frozenset(value.reveal() for key, value in form if key in _AUDIENCES)
    before = unverified_claims(login.document.access_token).audiences
    after = unverified_claims(reply.access_token).audiences
    comparable = after or reply.access_token == login.document.access_token
    unchanged = asked and asked != before and comparable and after == before
    if unchanged and not limits.same_audience:
        return messages.SAME_AUDIENCE_MESSAGE.format(login=name)
    return ""


def _scope(document: TokenDocument) -> frozenset[str]:
    stated = document.value("scope")
    words = frozenset(stated.split()) if isinstance(stated, str) else frozenset()
    return words or unverified_claims(document.access_token).scope
