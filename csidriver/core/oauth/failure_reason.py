"""The reasons for which a token request fails, and whether the refresh token was consumed."""

from enum import Enum


class Consumption(Enum):
    """The effect of a failed token request on the refresh token, as far as it is known."""

    NOT_SENT = "not_sent"
    NOT_CONSUMED = "rejected"
    UNKNOWN = "uncertain"


class FailureReason(Enum):
    """The reason of a failed token request; the value is a label of the metrics."""

    UNREACHABLE = "unreachable"
    TLS = "tls"
    THROTTLED = "throttled"
    NO_ANSWER = "no_answer"
    SERVER_ERROR = "server_error"
    BAD_REPLY = "bad_reply"
    REDIRECT = "redirect"
    INVALID_GRANT = "invalid_grant"
    LOGIN_REQUIRED = "login_required"
    INVALID_CLIENT = "invalid_client"
    CLIENT_NOT_ALLOWED = "client_not_allowed"
    INVALID_SCOPE = "invalid_scope"
    INVALID_REQUEST = "invalid_request"
    UNSUPPORTED_PROOF = "unsupported_proof"
    FORBIDDEN = "forbidden"
    NO_ENDPOINT = "no_endpoint"
    NO_OAUTH_ERROR = "no_oauth_error"
    UNKNOWN_ERROR = "unknown_error"
    TOKEN_TYPE = "token_type"  # noqa: S105 - a name
    METADATA = "metadata"
    BOUND_TOKEN = "bound_token"  # noqa: S105 - a name
    NO_ASSERTION = "no_assertion"
    CLIENT_KEY = "client_key"

    @property
    def consumption(self) -> Consumption:
        if self in _NOT_SENT:
            return Consumption.NOT_SENT
        return Consumption.UNKNOWN if self in _UNKNOWN else Consumption.NOT_CONSUMED

    @property
    def is_local(self) -> bool:
        """Nothing was sent to anybody, so it tells nothing about the server."""
        return self in _LOCAL


_LOCAL = (FailureReason.NO_ASSERTION, FailureReason.CLIENT_KEY)
_NOT_SENT = (FailureReason.UNREACHABLE, FailureReason.TLS, FailureReason.METADATA, *_LOCAL)
_UNKNOWN = (FailureReason.NO_ANSWER, FailureReason.SERVER_ERROR, FailureReason.BAD_REPLY)
