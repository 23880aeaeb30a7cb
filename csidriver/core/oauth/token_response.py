"""Responses of the token endpoint (RFC 6749 sections 5.1 and 5.2).

The decisive question is whether the server may have consumed the refresh token.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.jwt import unverified_claims
from csidriver.core.oauth.token_document import DocumentError, TokenDocument
from csidriver.core.sensitive import Sensitive


@dataclass(frozen=True, slots=True)
class Success:
    """The response has a new refresh token, a usable access token, or both."""

    reply: TokenDocument


@dataclass(frozen=True, slots=True)
class Failure:
    """No tokens. `pause` is the value of Retry-After, in seconds.

    `awaited`: seconds for which a late response is still waited for.
    """

    reason: FailureReason
    pause: float | None = None
    awaited: float = 0.0


TokenResponse = Success | Failure

# `error` codes of RFC 6749 section 5.2 and its successors. They override the HTTP status.
_ERRORS: Mapping[str, FailureReason] = {
    "invalid_grant": FailureReason.INVALID_GRANT,
    # What INDIGO IAM and UAA, GitHub, and Hydra 1 send instead.
    "invalid_token": FailureReason.INVALID_GRANT,
    "bad_refresh_token": FailureReason.INVALID_GRANT,
    "token_inactive": FailureReason.INVALID_GRANT,
    "interaction_required": FailureReason.LOGIN_REQUIRED,
    "consent_required": FailureReason.LOGIN_REQUIRED,
    "login_required": FailureReason.LOGIN_REQUIRED,
    "mfa_required": FailureReason.LOGIN_REQUIRED,
    "invalid_client": FailureReason.INVALID_CLIENT,
    "incorrect_client_credentials": FailureReason.INVALID_CLIENT,  # GitHub
    "unauthorized_client": FailureReason.CLIENT_NOT_ALLOWED,
    "unsupported_grant_type": FailureReason.CLIENT_NOT_ALLOWED,
    "invalid_scope": FailureReason.INVALID_SCOPE,
    "invalid_target": FailureReason.INVALID_SCOPE,
    "invalid_request": FailureReason.INVALID_REQUEST,
    "use_dpop_nonce": FailureReason.UNSUPPORTED_PROOF,
    "invalid_dpop_proof": FailureReason.UNSUPPORTED_PROOF,
    "slow_down": FailureReason.THROTTLED,
    "temporarily_unavailable": FailureReason.THROTTLED,
    "server_error": FailureReason.SERVER_ERROR,
}
_STATUSES: Mapping[int, FailureReason] = {
    403: FailureReason.FORBIDDEN,
    404: FailureReason.NO_ENDPOINT,
    405: FailureReason.NO_ENDPOINT,
    410: FailureReason.NO_ENDPOINT,
    429: FailureReason.THROTTLED,
}


def parse_token_response(  # noqa: PLR0911 - the order of the checks is part of the rule
    status: int, body: Sensitive, retry_after: str, now: float
) -> TokenResponse:
    """Interpret a complete HTTP response.

    `retry_after` is the header's value, "" if absent; if it is a date, `now` (epoch seconds) makes
    it a delay (RFC 9110 section 10.2.3).
    """
    pause = _pause(retry_after, now)
    try:
        reply: TokenDocument | None = TokenDocument.parse_reply(body)
    except DocumentError:
        reply = None
    # RFC 6749 section 5.1 demands 200, but a server that answers 201 may have consumed the token.
    success = 200 <= status < 300  # noqa: PLR2004 - RFC 9110 section 15.3
    if success and reply is not None and (reply.refresh_token or reply.access_token):
        return Success(reply)
    error = None if reply is None else reply.value("error")
    # With these statuses the `error` may come from a framework, which knows nothing of the token.
    unclear = status == 429 or status >= 500  # noqa: PLR2004 - RFC 6585 section 4, RFC 9110 15.6
    if status == 401 and error == "unauthorized_client":  # noqa: PLR2004 - Keycloak: a wrong secret
        error = "invalid_client"  # which is what 401 says (RFC 6749 section 5.2)
    if isinstance(error, str) and error and (error in _ERRORS or not unclear):
        return Failure(_ERRORS.get(error, FailureReason.UNKNOWN_ERROR), pause)
    if status == 503 and pause is not None:  # noqa: PLR2004 - RFC 9110 section 15.6.4
        return Failure(FailureReason.THROTTLED, pause)
    if 300 <= status < 400:  # noqa: PLR2004 - redirection (RFC 9110 section 15.4)
        return Failure(FailureReason.REDIRECT, pause)
    if status in _STATUSES:
        return Failure(_STATUSES[status], pause)
    if 400 <= status < 500:  # noqa: PLR2004 - client errors (RFC 9110 section 15.5)
        # The token endpoint would name an error (RFC 6749 section 5.2): a gateway has answered.
        return Failure(FailureReason.NO_OAUTH_ERROR, pause)
    return Failure(FailureReason.BAD_REPLY if success else FailureReason.SERVER_ERROR, pause)


def access_token_fault(reply: TokenDocument) -> FailureReason | None:
    """Return why a file cannot carry the access token of a reply, None if it can."""
    scheme = reply.token_type.lower()
    if scheme == "dpop":  # RFC 9449 section 5
        return FailureReason.BOUND_TOKEN
    if scheme != "bearer":
        return FailureReason.TOKEN_TYPE
    if reply.access_token is None:
        return FailureReason.BAD_REPLY
    claims = unverified_claims(reply.access_token)
    return FailureReason.BOUND_TOKEN if claims.is_bound else None


def _pause(retry_after: str, now: float) -> float | None:
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        date = parsedate_to_datetime(text)
        if date.tzinfo is None:  # HTTP dates are in GMT (RFC 9110 section 5.6.7)
            date = date.replace(tzinfo=UTC)
        return max(0.0, date.timestamp() - now)
    except (ValueError, OverflowError):
        return None
