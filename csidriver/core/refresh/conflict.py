"""What happened to a grant while an exchange was under way (docs/protocol.md 4.6)."""

from enum import Enum

from csidriver.core.refresh.grant import Grant


class Conflict(Enum):
    """Why a commit met a different grant than it was computed from (protocol section 4.6)."""

    REBASE = "rebase"
    ARRIVED = "arrived"
    PEER_WON = "peer_won"
    RESEEDED = "reseeded"
    GONE = "gone"


def judge_conflict(stored: Grant | None, before: Grant, after: Grant) -> Conflict:
    """What happened to the grant since our intent, seen from the reply we hold."""
    if stored is None:
        return Conflict.GONE
    fenced = before.intent is None or (
        stored.intent is not None and stored.intent.nonce == before.intent.nonce
    )
    # Whoever took our intent over, tokens in hand are worth more than an attempt in flight.
    ours = fenced or after.generation > before.generation
    if ours and stored.live_hash == before.live_hash and stored.generation == before.generation:
        return Conflict.REBASE
    if stored.generation == after.generation and stored.live_hash == after.live_hash:
        return Conflict.ARRIVED
    if stored.live_hash != before.live_hash and stored.live_hash in stored.seeds:
        return Conflict.RESEEDED
    return Conflict.PEER_WON
