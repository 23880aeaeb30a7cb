"""What users and operators are told: statuses, warnings, and the signals that lead to them.

One table maps every signal an exchange can end with to what it proves about the refresh token,
the status a user sees, the pace of further attempts and the metric class.
"""

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


class TokenWarning(Enum):
    """Something a user should know while the token works, as the annotation `warning` spells it."""

    REFRESH_TOKEN_EXPIRING = "RefreshTokenExpiring"  # noqa: S105 - a name
    OLD_SEED_RESTORED = "OldSeedRestored"
    TRAILING_BYTES = "TrailingBytes"
    DEFAULT_LIFETIME = "DefaultLifetime"
    MIRROR_REFUSED = "MirrorRefused"
