"""What users and operators are told: statuses, warnings, and the signals that lead to them.

One table maps every signal an exchange can end with to what it proves about the refresh token,
the status a user sees, the pace of further attempts and the metric class.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class Status(Enum):
    """The state of one token, as the annotation `status` spells it."""

    PENDING = "Pending"
    READY = "Ready"
    UNCERTAIN = "Uncertain"
    ISSUER_UNAVAILABLE = "IssuerUnavailable"
    NEEDS_REAUTH = "NeedsReauth"
    LOST_ROTATION = "LostRotation"
    DUPLICATE_GRANT = "DuplicateGrant"
    CLIENT_REJECTED = "ClientRejected"
    MISCONFIGURED = "Misconfigured"
    INVALID = "Invalid"


class Warn(Enum):
    """Something a user should know while the token works, as the annotation `warning` spells it."""

    REFRESH_TOKEN_EXPIRING = "RefreshTokenExpiring"  # noqa: S105 - a name
    OLD_SEED_RESTORED = "OldSeedRestored"
    TRAILING_BYTES = "TrailingBytes"
    DEFAULT_LIFETIME = "DefaultLifetime"
    MIRROR_REFUSED = "MirrorRefused"


class Kind(Enum):
    """What a failed exchange proves: was the refresh token possibly consumed?"""

    NOT_SENT = "not_sent"
    REJECTED = "rejected"
    UNCERTAIN = "uncertain"


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


class Signal(Enum):
    """How an exchange ended when it did not bring a token; the value is the metric class."""

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
    UNKNOWN_ERROR = "unknown_error"
    TOKEN_TYPE = "token_type"  # noqa: S105 - a name
    METADATA = "metadata"


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

READY_MESSAGE = "the access token is fresh"
PENDING_MESSAGE = "the first refresh is under way"
HELD_BACK_MESSAGE = (
    "the authorization server fails or asks to slow down; the refresh is tried as soon as it allows"
)
LOST_MESSAGE = (
    "a refresh was cut off and the authorization server no longer knows the refresh token; "
    "log in again and put the new token into the Secret"
)
UNCERTAIN_MESSAGE = (
    "the outcome of a refresh is unknown; it is tried once more before the access token expires, "
    "a new login settles it at once"
)
DUPLICATE_MESSAGE = (
    "{other} holds a refresh token of the same login and had it first; log in separately for each "
    "Secret, or delete one of them"
)
DAMAGED_MESSAGE = (
    "Secret {grant}, which holds the live refresh token, cannot be read; restore it from a backup, "
    "or log in again, put the new token into this Secret and delete that one"
)
EMPTY_MESSAGE = (
    "Secret {grant} holds no refresh token that may be sent; restore it from a backup, or log in "
    "again and put the new token into this Secret"
)
UNSCOPED_MESSAGE = (
    "the access token is fresh; the issuer's scope is refused, so the token has that of the login"
)
UNSETTLED_MESSAGE = (
    "the outcome of a refresh is unknown, and so is that of its repetition; log in again and put "
    "the new token into the Secret"
)

WARNINGS: Mapping[Warn, str] = {
    Warn.REFRESH_TOKEN_EXPIRING: "the refresh token expires soon; log in again",
    Warn.OLD_SEED_RESTORED: (
        "the Secret holds a refresh token that was replaced long ago; the live one is kept and "
        "comes back with the next refresh"
    ),
    Warn.TRAILING_BYTES: "the document ends in a brace too many; the next refresh corrects it",
    Warn.DEFAULT_LIFETIME: (
        "the authorization server says no credible lifetime; the issuer's defaultLifetime is used"
    ),
    Warn.MIRROR_REFUSED: (
        "the Secret cannot be updated (immutable, a quota or an admission policy); pods get fresh "
        "tokens all the same"
    ),
}
