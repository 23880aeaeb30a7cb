"""The statuses and warnings of a token, as users and operators see them."""

from enum import Enum


class Status(Enum):
    """The state of one token, as the annotation `status` spells it."""

    PENDING = "Pending"
    READY = "Ready"
    UNCERTAIN = "Uncertain"
    ISSUER_UNAVAILABLE = "IssuerUnavailable"
    WAITS_FOR_LOGIN = "WaitsForLogin"
    NEEDS_REAUTH = "NeedsReauth"
    LOST_ROTATION = "LostRotation"
    DUPLICATE_GRANT = "DuplicateGrant"
    CLIENT_REJECTED = "ClientRejected"
    MISCONFIGURED = "Misconfigured"
    INVALID = "Invalid"


class TokenWarning(Enum):
    """A problem of a token that still works, as the annotation `warning` spells it."""

    REFRESH_TOKEN_EXPIRING = "RefreshTokenExpiring"  # noqa: S105 - a name
    OLD_SEED_RESTORED = "OldSeedRestored"
    TRAILING_BYTES = "TrailingBytes"
    DEFAULT_LIFETIME = "DefaultLifetime"
    MIRROR_REFUSED = "MirrorRefused"
    INVALID_REFRESH_REQUEST = "InvalidRefreshRequest"
