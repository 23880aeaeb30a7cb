"""The log of refresh tokens presented to the strict authorization server.

It holds only hashes of tokens, so that tests can print it.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """The result of one presentation of a refresh token."""

    ROTATED = "rotated"
    REPLAYED = "replayed"  # a replaced token: this presentation revoked the family
    REVOKED = "revoked"  # the family had been revoked before
    FOREIGN = "foreign"  # another client's token
    UNKNOWN = "unknown"
    INVALID_SCOPE = "invalid_scope"


@dataclass(frozen=True, slots=True)
class Presentation:
    """One row of the log. The server of the tests has further outcomes."""

    presented_at: float  # epoch seconds
    client_id: str  # empty if no such client is registered
    token_hash: str
    outcome: str
    successor_hash: str  # of the refresh token in the reply, empty if refused


def most_presentations(log: Collection[Presentation]) -> int:
    """Return the largest number of presentations, of any outcome, of one rotated token."""
    rotated = {row.token_hash for row in log if row.outcome == Outcome.ROTATED}
    return max(
        Counter(row.token_hash for row in log if row.token_hash in rotated).values(), default=0
    )
