"""What each failure of a token request means: status, retry policy and message."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from csidriver.core.oauth.failure_reason import Kind, Signal
from csidriver.core.status import Status


class Pace(Enum):
    """When the next attempt may come."""

    BACKOFF = "backoff"  # 2 s doubling, capped by the token's remaining life
    RETRY_AFTER = "retry_after"  # as the server says
    MINUTES = "minutes"  # every 5 minutes
    HALF_HOUR = "half_hour"  # 3 quick tries, then every 30 minutes
    SECOND_LOOK = "second_look"  # once more at once, then hourly
    HOURLY = "hourly"
    UNKNOWN = "unknown"  # 5 tries with backoff, then hourly
    ONCE_LATER = "once_later"  # one more look after 5 minutes, then only a change helps
    STOP = "stop"  # only a change of the Secret helps


@dataclass(frozen=True, slots=True)
class Meaning:
    """One row of the table. `message` ends in what to do about it."""

    kind: Kind
    status: Status
    pace: Pace
    message: str


_ISSUER = Status.ISSUER_UNAVAILABLE
_CONFIG = Status.MISCONFIGURED
MEANINGS: Mapping[Signal, Meaning] = {
    Signal.UNREACHABLE: Meaning(
        Kind.NOT_SENT, _ISSUER, Pace.BACKOFF, "the authorization server cannot be reached"
    ),
    Signal.TLS: Meaning(
        Kind.NOT_SENT,
        _CONFIG,
        Pace.MINUTES,
        "the authorization server's certificate is not trusted; check the issuer's caFile",
    ),
    Signal.METADATA: Meaning(
        Kind.NOT_SENT,
        _CONFIG,
        Pace.MINUTES,
        "the issuer's metadata does not fit its configuration; check issuer and endpointHosts",
    ),
    Signal.THROTTLED: Meaning(
        Kind.REJECTED, _ISSUER, Pace.RETRY_AFTER, "the authorization server asks to slow down"
    ),
    Signal.NO_ANSWER: Meaning(
        Kind.UNCERTAIN,
        Status.UNCERTAIN,
        Pace.BACKOFF,
        "the authorization server took the refresh token and never answered",
    ),
    Signal.SERVER_ERROR: Meaning(
        Kind.UNCERTAIN, Status.UNCERTAIN, Pace.BACKOFF, "the authorization server failed"
    ),
    Signal.BAD_REPLY: Meaning(
        Kind.UNCERTAIN,
        Status.UNCERTAIN,
        Pace.BACKOFF,
        "the authorization server's answer holds no token",
    ),
    Signal.REDIRECT: Meaning(
        Kind.REJECTED,
        _CONFIG,
        Pace.MINUTES,
        "the token endpoint redirects, which is never followed; check the issuer's tokenEndpoint",
    ),
    Signal.INVALID_GRANT: Meaning(
        Kind.REJECTED,
        Status.NEEDS_REAUTH,
        Pace.ONCE_LATER,
        "the refresh token is no longer valid; log in again and put the new token into the Secret",
    ),
    Signal.LOGIN_REQUIRED: Meaning(
        Kind.REJECTED,
        Status.NEEDS_REAUTH,
        Pace.STOP,
        "the user must log in again; put the new token into the Secret",
    ),
    Signal.INVALID_CLIENT: Meaning(
        Kind.REJECTED,
        Status.CLIENT_REJECTED,
        Pace.HALF_HOUR,
        "clientID or clientSecret is refused; correct them in the Secret",
    ),
    Signal.CLIENT_NOT_ALLOWED: Meaning(
        Kind.REJECTED,
        Status.CLIENT_REJECTED,
        Pace.HOURLY,
        "the client may not use refresh tokens; allow the refresh_token grant for it",
    ),
    Signal.INVALID_SCOPE: Meaning(
        Kind.REJECTED,
        _CONFIG,
        Pace.HOURLY,
        "the requested scope is refused; check the issuer's scope",
    ),
    Signal.INVALID_REQUEST: Meaning(
        Kind.REJECTED,
        _CONFIG,
        Pace.HOURLY,
        "the authorization server does not understand the request; check the issuer's clientAuth",
    ),
    Signal.UNSUPPORTED_PROOF: Meaning(
        Kind.REJECTED,
        _CONFIG,
        Pace.HOURLY,
        "the client demands DPoP, which token files cannot carry; turn it off for this client",
    ),
    Signal.FORBIDDEN: Meaning(
        Kind.REJECTED, _ISSUER, Pace.MINUTES, "the authorization server forbids the request"
    ),
    Signal.NO_ENDPOINT: Meaning(
        Kind.REJECTED,
        _CONFIG,
        Pace.SECOND_LOOK,
        "there is no token endpoint at the configured address; check the issuer",
    ),
    Signal.UNKNOWN_ERROR: Meaning(
        Kind.REJECTED,
        _CONFIG,
        Pace.UNKNOWN,
        "the authorization server answers with an error this driver does not know",
    ),
    Signal.TOKEN_TYPE: Meaning(
        Kind.REJECTED,
        _CONFIG,
        Pace.HOURLY,
        "the authorization server issues no Bearer tokens to this client",
    ),
}
