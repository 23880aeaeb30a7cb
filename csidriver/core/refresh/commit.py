"""Storage of a grant after a token request (docs/protocol.md 4.6).

Retries until the outcome is stored, and overwrites no newer grant of another writer.
"""

from dataclasses import replace
from enum import Enum

from csidriver.core.kubernetes.secret import Secret
from csidriver.core.refresh import grant_secret
from csidriver.core.refresh.effects import CreateSecret, GetSecret, PatchSecret, Wait, YieldWorker
from csidriver.core.refresh.grant import Grant
from csidriver.core.refresh.state import Effects, TokenState
from csidriver.errors import InvalidSecret, StoreConflict, StoreError

# Seconds, the longest pause between two attempts to store an outcome.
MAX_COMMIT_PAUSE = 5.0


class Conflict(Enum):
    """Why the stored grant differs from the one that a commit was computed from."""

    REBASE = "rebase"
    ARRIVED = "arrived"
    PEER_WON = "peer_won"
    RESEEDED = "reseeded"
    DELETED = "deleted"


def store_grant(state: TokenState, grant: Grant) -> Effects[TokenState]:
    base = _grant_secret(state)
    stored = yield from PatchSecret(base, grant_secret.to_patch(grant))
    return state.with_grant(stored, grant)


def commit(state: TokenState, before: Grant, after: Grant) -> Effects[TokenState]:
    """Store a grant computed from `before`, and repeat after conflicts and failures.

    If the stored grant has newer tokens, it stays, and the result is marked stale.
    """
    base = _grant_secret(state)
    has_reply = after.generation > before.generation
    pause = 0.0
    while True:
        try:
            stored = yield from PatchSecret(base, grant_secret.to_patch(after))
            return state.with_grant(stored, after)
        except StoreConflict:
            pass
        except StoreError:
            pause = yield from _wait(pause)
            continue
        try:
            current = yield from GetSecret(base.namespace, base.name)
            if current is None and has_reply:
                # Somebody deleted the grant; the new refresh token exists only here.
                stored = yield from CreateSecret(grant_secret.to_secret(after, base.namespace))
                return state.with_grant(stored, after)
        except StoreError:
            pause = yield from _wait(pause)
            continue
        conflict = _read_conflict(current, before, after)
        if current is None or conflict is not Conflict.REBASE:
            keeps_spool = conflict is Conflict.PEER_WON
            spooled = state.spooled and not keeps_spool
            return replace(state, source_stale=True, grant_stale=True, spooled=spooled)
        base = current


def _grant_secret(state: TokenState) -> Secret:
    """Return the grant's Secret. Raises StoreConflict if it is not known."""
    if state.grant_secret is None:
        raise StoreConflict(f"the grant of Secret {state.ref} is gone")
    return state.grant_secret


def _read_conflict(current: Secret | None, before: Grant, after: Grant) -> Conflict:
    try:
        stored = None if current is None else grant_secret.from_secret(current)
    except InvalidSecret:
        # New tokens repair a damaged grant. Without them load_grant reports it.
        return Conflict.REBASE if after.generation > before.generation else Conflict.ARRIVED
    return classify_conflict(stored, before, after)


def classify_conflict(stored: Grant | None, before: Grant, after: Grant) -> Conflict:
    if stored is None:
        return Conflict.DELETED
    fenced = before.intent is None or (
        stored.intent is not None and stored.intent.nonce == before.intent.nonce
    )
    # If another replica took the intent over, new tokens still win over its attempt.
    ours = fenced or after.generation > before.generation
    if ours and stored.live_hash == before.live_hash and stored.generation == before.generation:
        return Conflict.REBASE
    if stored.generation == after.generation and stored.live_hash == after.live_hash:
        return Conflict.ARRIVED
    if stored.live_hash != before.live_hash and stored.live_hash in stored.seeds:
        return Conflict.RESEEDED
    return Conflict.PEER_WON


def _wait(pause: float) -> Effects[float]:
    if not pause:
        yield from YieldWorker()
    pause = min(MAX_COMMIT_PAUSE, pause * 2 or MAX_COMMIT_PAUSE / 16)
    yield from Wait(pause)
    return pause
