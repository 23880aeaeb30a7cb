"""The record of every refresh token presented to the strict authorization server.

It names tokens by `Sensitive.hash()` only, so it can be shown and kept.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """What became of one presentation of a refresh token."""

    ROTATED = "rotated"
    REUSED = "reused"  # within grace, or not rotating
    REPLAYED = "replayed"  # a replaced token: this presentation killed the family
    REVOKED = "revoked"  # the family was dead already
    EXPIRED = "expired"
    FOREIGN = "foreign"  # another client's token
    UNKNOWN = "unknown"
    INVALID_SCOPE = "invalid_scope"
    INVALID_CLIENT = "invalid_client"
    INVALID_REQUEST = "invalid_request"
    DROPPED_BEFORE = "dropped_before"  # a fault closed the connection, nothing was handled
    ANSWERED_BEFORE = "answered_before"  # a fault answered, nothing was handled


@dataclass(frozen=True, slots=True)
class Presentation:
    """One row of the log."""

    presented_at: float  # epoch seconds
    client_id: str  # empty if no such client is registered
    token_hash: str  # hash
    outcome: Outcome
    successor_hash: str  # hash of the refresh token answered with, empty if none


def most_presentations(log: Collection[Presentation]) -> int:
    """Most presentations, whatever became of them, of any one token that was rotated."""
    rotated = {row.token_hash for row in log if row.outcome is Outcome.ROTATED}
    return max(
        Counter(row.token_hash for row in log if row.token_hash in rotated).values(), default=0
    )
