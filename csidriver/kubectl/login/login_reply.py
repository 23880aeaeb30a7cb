"""Replies to a login's requests: tokens that a Secret can hold, or a sentence that says why not.

No text of a reply gets into a sentence, but for an error code.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from csidriver.core.annotations import MAX_DOCUMENT
from csidriver.core.oauth.json_object import json_object
from csidriver.core.oauth.token_document import DocumentError, TokenDocument
from csidriver.core.refresh.source import is_mirrorable
from csidriver.core.sensitive import Sensitive
from csidriver.kubectl.errors import LoginFailed
from csidriver.kubectl.login.polling import PollAnswer
from csidriver.kubectl.login.server_text import quote_error

_AGAIN = "run the command again"


# Error codes and what they say to the user.
REFUSALS: Mapping[str, str] = {
    "access_denied": f"the login was denied in the browser; {_AGAIN} to try once more",
    # What Entra sends instead.
    "authorization_declined": f"the login was denied in the browser; {_AGAIN} to try once more",
    "expired_token": f"the code has expired before the login was confirmed; {_AGAIN} for a new one",
    "bad_verification_code": f"the authorization server does not know the code; {_AGAIN}",
    "incorrect_device_code": f"the authorization server does not know the code; {_AGAIN}",
    "invalid_grant": f"the authorization server does not accept the code of the login; {_AGAIN}",
    "invalid_client": (
        "the authorization server does not accept the client; check the client ID, and give its "
        "secret with --client-secret-file or --ask-client-secret if it has one"
    ),
    "unauthorized_client": (
        "the client may not log in this way; ask the operator to allow it, or choose the other "
        "way with --web or --device"
    ),
    "unsupported_grant_type": (
        "the authorization server does not offer this way to log in; choose the other one with "
        "--web or --device"
    ),
    "device_flow_disabled": "the client may not log in with a code; use --web",
    "invalid_scope": "the authorization server refuses the scope; name another one with --scope",
    "login_required": f"the authorization server wants the user to log in first; {_AGAIN}",
    "consent_required": "the authorization server wants a consent that it could not ask for",
    "interaction_required": f"the authorization server wants to ask the user; {_AGAIN}",
}
# RFC 6749 section 4.1.2.1; Entra and others send them from the token endpoint, too.
_PASSING = frozenset({"temporarily_unavailable", "server_error"})
_CONTINUE = {answer.value: answer for answer in (PollAnswer.PENDING, PollAnswer.SLOW_DOWN)}


class LoginRefused(LoginFailed):
    """An OAuth error of the authorization server."""

    def __init__(self, error: object) -> None:
        self.error = error if isinstance(error, str) else ""
        known = REFUSALS.get(self.error)
        super().__init__(
            known or f"the authorization server refuses the login: {quote_error(error)}"
        )


def read_object(status: int, body: Sensitive, source: str) -> Mapping[str, Any]:
    """Return the JSON object of a successful reply; raise LoginFailed for all others."""
    reply = json_object(body)
    # GitHub sends its errors with status 200.
    if reply is not None and reply.get("error"):
        raise LoginRefused(reply["error"])
    if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        raise LoginFailed(f"the {source} answers HTTP {status} without an OAuth error")
    if reply is None:
        raise LoginFailed(f"the {source} does not answer with a JSON object")
    return reply


def read_tokens(status: int, body: Sensitive) -> TokenDocument:
    """Return the tokens of a reply of the token endpoint, or raise LoginFailed."""
    read_object(status, body, "token endpoint")
    try:
        reply = TokenDocument.parse_reply(body)
    except DocumentError:
        raise LoginFailed("the token endpoint's answer cannot be used") from None
    return _storable(reply)


def read_poll_reply(status: int, body: Sensitive) -> PollAnswer | TokenDocument:
    """Return the tokens, or how to go on; raise LoginFailed if the login has ended."""
    found = (json_object(body) or {}).get("error")
    error = found if isinstance(found, str) else ""
    # Google sends 428 and 403 with these errors, GitHub 200.
    if error in _CONTINUE:
        return _CONTINUE[error]
    passing = status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
    passing = passing or status >= HTTPStatus.INTERNAL_SERVER_ERROR or error in _PASSING
    if passing and error not in REFUSALS:
        return PollAnswer.MISSING
    return read_tokens(status, body)


def _storable(reply: TokenDocument) -> TokenDocument:
    """Return a document that the refresher adopts, or raise LoginFailed."""
    if reply.refresh_token is None:
        raise LoginFailed(
            "the authorization server gave no refresh token; ask for one with --scope, often "
            "`openid offline_access`, or ask the operator for the issuer's login.scopes and "
            "login.params"
        )
    if reply.token_type.lower() != "bearer":
        raise LoginFailed("the authorization server issues no Bearer tokens to this client")
    # An ID token may have many claims of groups, and nobody reads it.
    for document in (reply, reply.drop("id_token")):
        if is_mirrorable(document):
            return document
    raise LoginFailed(f"the tokens are larger than a Secret may have: {MAX_DOCUMENT // 1024} KiB")
