"""Storing what an exchange brought: it is never given up, and never undoes what others stored.

The rules are docs/protocol.md section 4.6; what a conflict means is decided in `conflict`.
"""

from dataclasses import replace
from enum import Enum

from csidriver.core.kubernetes.secret import Secret, SecretPatch
from csidriver.core.refresh import grant_secret
from csidriver.core.refresh.effects import CreateSecret, GetSecret, PatchSecret, Wait, YieldWorker
from csidriver.core.refresh.grant import Grant
from csidriver.core.refresh.state import Effects, TokenState
from csidriver.errors import InvalidSecret, StoreConflict, StoreError

# Most seconds between two tries to store an outcome; storing it is never given up.
MAX_COMMIT_PAUSE = 5.0


class Conflict(Enum):
    """Why a commit met a different grant than it was computed from (protocol section 4.6)."""

    REBASE = "rebase"
    ARRIVED = "arrived"
    PEER_WON = "peer_won"
    RESEEDED = "reseeded"
    GONE = "gone"


def store_grant(state: TokenState, grant: Grant) -> Effects[TokenState]:
    """Store a grant whose loss would cost nothing. Raises StoreError."""
    base = grant_secret_or_conflict(state)
    stored = yield from PatchSecret(base, SecretPatch(data=dict(grant_secret.to_data(grant))))
    return state.with_grant(stored, grant)


def commit(state: TokenState, before: Grant, after: Grant) -> Effects[TokenState]:
    """Store a grant computed from `before`, however long it takes and whoever writes in between.

    A conflict never drops a reply: it is rebased unless the grant has moved on without us.
    """
    base = grant_secret_or_conflict(state)
    pause = 0.0
    while True:
        try:
            stored = yield from PatchSecret(
                base, SecretPatch(data=dict(grant_secret.to_data(after)))
            )
            return state.with_grant(stored, after)
        except StoreConflict:
            pass
        except StoreError:
            pause = yield from _wait(pause)
            continue
        try:
            fresh = yield from GetSecret(base.namespace, base.name)
            if fresh is None and after.generation > before.generation:
                # Deleted under our hands; the refresh token we hold exists nowhere else.
                stored = yield from CreateSecret(grant_secret.to_secret(after, base.namespace))
                return state.with_grant(stored, after)
        except StoreError:
            pause = yield from _wait(pause)
            continue
        conflict = _read_conflict(fresh, before, after)
        if fresh is None or conflict is not Conflict.REBASE:
            kept = conflict is Conflict.PEER_WON
            return replace(
                state, source_stale=True, grant_stale=True, spooled=state.spooled and not kept
            )
        base = fresh


def grant_secret_or_conflict(state: TokenState) -> Secret:
    """The grant's Secret as this process knows it. Raises StoreConflict if it knows none."""
    if state.grant_secret is None:
        raise StoreConflict(f"the grant of Secret {state.ref} is gone")
    return state.grant_secret


def _read_conflict(fresh: Secret | None, before: Grant, after: Grant) -> Conflict:
    try:
        stored = None if fresh is None else grant_secret.from_secret(fresh)
    except InvalidSecret:
        # Damaged under our hands: tokens in hand mend it, anything else leaves it to its reader.
        tokens = after.generation > before.generation
        return Conflict.REBASE if tokens else Conflict.ARRIVED
    return classify_conflict(stored, before, after)


def classify_conflict(stored: Grant | None, before: Grant, after: Grant) -> Conflict:
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


def _wait(pause: float) -> Effects[float]:
    """Wait, the first time after stepping aside; returns the pause that was made."""
    if not pause:
        yield from YieldWorker()
    pause = min(MAX_COMMIT_PAUSE, pause * 2 or MAX_COMMIT_PAUSE / 16)
    yield from Wait(pause)
    return pause
