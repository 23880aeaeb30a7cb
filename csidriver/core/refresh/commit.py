"""Storage of a grant, after a token request and else (docs/protocol.md 4.6).

Overwrites no newer grant of another writer.
"""

from dataclasses import replace

from csidriver.core.kubernetes.secret import Secret
from csidriver.core.refresh import grant_secret
from csidriver.core.refresh.effects import CreateSecret, GetSecret, PatchSecret
from csidriver.core.refresh.grant import Grant
from csidriver.core.refresh.state import Effects, RefreshContext, TokenState
from csidriver.errors import InvalidSecret, StoreConflict


def store_grant(state: TokenState, grant: Grant) -> Effects[TokenState]:
    base = state.stored()
    stored = yield from PatchSecret(base, grant_secret.to_patch(grant))
    return state.with_grant(stored, grant)


def recreate_grant(state: TokenState, context: RefreshContext) -> Effects[TokenState]:
    """Write a grant again that was deleted or replaced by an older copy."""
    if not state.grant_missing_in_store or state.grant is None:
        return state
    return (yield from create_or_store(state, state.grant, context))


def create_or_store(
    state: TokenState, grant: Grant, context: RefreshContext
) -> Effects[TokenState]:
    if state.grant_secret is not None:
        return (yield from store_grant(state, grant))
    created = yield from CreateSecret(grant_secret.to_secret(grant, context.driver_namespace))
    return state.with_grant(created, grant)


def force_reread(state: TokenState) -> Effects[TokenState]:
    """Make a restart read the source, although our status annotation is its newest write."""
    grant = state.grant
    if grant is None or not grant.source_version:
        return state
    return (yield from store_grant(state, replace(grant, source_version="")))


def commit(state: TokenState, before: Grant, after: Grant) -> Effects[TokenState]:
    """Store a grant computed from `before`; repeat after a conflict.

    If the stored grant has newer tokens, it stays, and the result is marked stale. Raises
    StoreError: then the outcome is not stored, and the next reconciliation finds it in the spool.
    """
    base = state.stored()
    while True:
        try:
            stored = yield from PatchSecret(base, grant_secret.to_patch(after))
            return state.with_grant(stored, after)
        except StoreConflict:
            current = yield from GetSecret(base.namespace, base.name)
        if current is None and after.generation > before.generation:
            # Somebody deleted the grant; the new refresh token exists only here.
            stored = yield from CreateSecret(grant_secret.to_secret(after, base.namespace))
            return state.with_grant(stored, after)
        if current is None or not _may_overwrite(current, before, after):
            return replace(state, source_stale=True, grant_stale=True)
        base = current
        # The other process may have written the source as well: a restart must read it.
        after = replace(after, source_version="")


def _may_overwrite(current: Secret, before: Grant, after: Grant) -> bool:
    try:
        stored = grant_secret.from_secret(current)
    except InvalidSecret:
        # New tokens repair a damaged grant. Without them load_grant reports it.
        return after.generation > before.generation
    return may_rebase(stored, before, after)


def may_rebase(stored: Grant, before: Grant, after: Grant) -> bool:
    """Return True if `stored` has neither newer tokens nor another login than `before`.

    If another replica took the intent over, new tokens still win over its attempt.
    """
    fenced = before.intent is None or (
        stored.intent is not None and stored.intent.nonce == before.intent.nonce
    )
    ours = fenced or after.generation > before.generation
    same_tokens = stored.live_hash == before.live_hash and stored.generation == before.generation
    return ours and same_tokens
