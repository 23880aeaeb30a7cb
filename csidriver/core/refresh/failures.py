"""What each failure of a token request means: status, retry policy and message."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.status import Status


class RetryPolicy(Enum):
    """When the next attempt may come."""

    BACKOFF = "backoff"  # 2 s doubling, capped by the token's remaining life
    RETRY_AFTER = "retry_after"  # as the server says
    FIVE_MINUTES = "minutes"  # every 5 minutes
    THREE_QUICK = "half_hour"  # 3 quick tries, then every 30 minutes
    ONE_QUICK = "second_look"  # once more at once, then hourly
    HOURLY = "hourly"
    FIVE_QUICK = "unknown"  # 5 tries with backoff, then hourly
    ONCE_LATER = "once_later"  # one more look after 5 minutes, then only a change helps
    NEVER = "stop"  # only a change of the Secret helps


@dataclass(frozen=True, slots=True)
class FailureRule:
    """One row of the table. `message` ends in what to do about it."""

    status: Status
    retry_policy: RetryPolicy
    message: str


_ISSUER = Status.ISSUER_UNAVAILABLE
_CONFIG = Status.MISCONFIGURED
FAILURE_RULES: Mapping[FailureReason, FailureRule] = {
    FailureReason.UNREACHABLE: FailureRule(
        _ISSUER,
        RetryPolicy.BACKOFF,
        "the authorization server cannot be reached",
    ),
    FailureReason.TLS: FailureRule(
        _CONFIG,
        RetryPolicy.FIVE_MINUTES,
        "the authorization server's certificate is not trusted; check the issuer's caFile",
    ),
    FailureReason.METADATA: FailureRule(
        _CONFIG,
        RetryPolicy.FIVE_MINUTES,
        "the issuer's metadata does not fit its configuration; check issuer and endpointHosts",
    ),
    FailureReason.THROTTLED: FailureRule(
        _ISSUER,
        RetryPolicy.RETRY_AFTER,
        "the authorization server asks to slow down",
    ),
    FailureReason.NO_ANSWER: FailureRule(
        Status.UNCERTAIN,
        RetryPolicy.BACKOFF,
        "the authorization server took the refresh token and never answered",
    ),
    FailureReason.SERVER_ERROR: FailureRule(
        Status.UNCERTAIN,
        RetryPolicy.BACKOFF,
        "the authorization server failed",
    ),
    FailureReason.BAD_REPLY: FailureRule(
        Status.UNCERTAIN,
        RetryPolicy.BACKOFF,
        "the authorization server's answer holds no token",
    ),
    FailureReason.REDIRECT: FailureRule(
        _CONFIG,
        RetryPolicy.FIVE_MINUTES,
        "the token endpoint redirects, which is never followed; check the issuer's tokenEndpoint",
    ),
    FailureReason.INVALID_GRANT: FailureRule(
        Status.NEEDS_REAUTH,
        RetryPolicy.ONCE_LATER,
        "the refresh token is no longer valid; log in again and put the new token into the Secret",
    ),
    FailureReason.LOGIN_REQUIRED: FailureRule(
        Status.NEEDS_REAUTH,
        RetryPolicy.NEVER,
        "the user must log in again; put the new token into the Secret",
    ),
    FailureReason.INVALID_CLIENT: FailureRule(
        Status.CLIENT_REJECTED,
        RetryPolicy.THREE_QUICK,
        "clientID or clientSecret is refused; correct them in the Secret",
    ),
    FailureReason.CLIENT_NOT_ALLOWED: FailureRule(
        Status.CLIENT_REJECTED,
        RetryPolicy.HOURLY,
        "the client may not use refresh tokens; allow the refresh_token grant for it",
    ),
    FailureReason.INVALID_SCOPE: FailureRule(
        _CONFIG,
        RetryPolicy.HOURLY,
        "the requested scope is refused; check the issuer's scope",
    ),
    FailureReason.INVALID_REQUEST: FailureRule(
        _CONFIG,
        RetryPolicy.HOURLY,
        "the authorization server does not understand the request; check the issuer's clientAuth",
    ),
    FailureReason.UNSUPPORTED_PROOF: FailureRule(
        _CONFIG,
        RetryPolicy.HOURLY,
        "the client demands DPoP, which token files cannot carry; turn it off for this client",
    ),
    FailureReason.FORBIDDEN: FailureRule(
        _ISSUER,
        RetryPolicy.FIVE_MINUTES,
        "the authorization server forbids the request",
    ),
    FailureReason.NO_ENDPOINT: FailureRule(
        _CONFIG,
        RetryPolicy.ONE_QUICK,
        "there is no token endpoint at the configured address; check the issuer",
    ),
    FailureReason.UNKNOWN_ERROR: FailureRule(
        _CONFIG,
        RetryPolicy.FIVE_QUICK,
        "the authorization server answers with an error this driver does not know",
    ),
    FailureReason.TOKEN_TYPE: FailureRule(
        _CONFIG,
        RetryPolicy.HOURLY,
        "the authorization server issues no Bearer tokens to this client",
    ),
}
