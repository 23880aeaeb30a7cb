"""Telling nodes and users: the companion, the mirror in the source, the status annotations.

Level-triggered: every visit compares what should be there with what was last seen and writes only
the difference. Nothing here can lose a token, the grant has it already.
"""

from dataclasses import replace

from csidriver.core import annotations as core_annotations
from csidriver.core import companion
from csidriver.core.companion import Companion
from csidriver.core.kubernetes.secret import Secret, SecretPatch
from csidriver.core.refresh import login_expiry
from csidriver.core.refresh.effects import CreateSecret, Now, PatchSecret, SpoolClear
from csidriver.core.refresh.mirror import MIRROR_RETRY, store_mirror
from csidriver.core.refresh.source_annotations import (
    StatusOverride,
    hides_failures,
)
from csidriver.core.refresh.state import Effects, RefreshContext, TokenState
from csidriver.core.sensitive import Sensitive
from csidriver.core.status import Status


def store_companion_and_mirror(
    state: TokenState, context: RefreshContext, override: StatusOverride | None
) -> Effects[TokenState]:
    """Write companion and mirror where they lag behind, then plan the next visit."""
    now = yield from Now()
    state, foreign = yield from store_companion(state, context, override, now)
    # A document that could not be adopted may hold a human's new token: leave it to its author.
    state = yield from store_mirror(state, foreign or override, now, mirrors=override is None)
    if state.spooled:
        yield from SpoolClear(state.ref)
        state = replace(state, spooled=False)
    return replace(state, next_reconcile=_next_reconcile(state, override, now))


def _next_reconcile(state: TokenState, override: StatusOverride | None, now: float) -> float | None:
    """When to come again (epoch seconds), None if only a change can help."""
    if state.grant is None or (override is not None and override.blocks):
        return state.requeue_at
    following, refused_at = state.grant.next_refresh, state.mirror_refused_at
    if state.requeue_at is not None and following is not None and following <= now:
        following = None  # due, but something is to be waited for first
    owed = override is None and state.mirrored_generation < state.grant.generation
    retry = refused_at + MIRROR_RETRY if owed and refused_at is not None else None
    planned = (state.requeue_at, following, retry, login_expiry.next_warning(state.grant, now))
    return min((at for at in planned if at is not None), default=None)


def own_companion(state: TokenState) -> Secret | None:
    """The companion, unless the object under its name is somebody else's."""
    seen = companion.parse_or_none(state.companion)
    return state.companion if seen is not None and seen.source == state.ref else None


def store_companion(
    state: TokenState, context: RefreshContext, override: StatusOverride | None, now: float
) -> Effects[tuple[TokenState, StatusOverride | None]]:
    """Write the companion where it differs; return a status that overrides if it is not ours."""
    seen = companion.parse_or_none(state.companion)
    if state.companion is not own_companion(state):
        message = f"Secret {context.tokens_namespace}/{state.ref.companion} is not ours; remove it"
        return state, StatusOverride(Status.MISCONFIGURED, message)
    wanted = _desired_companion(state, override, now)
    quietly = state.grant is not None and hides_failures(state.grant)
    if wanted is None or (seen is not None and not _differs(seen, wanted, quietly=quietly)):
        return state, None
    if state.companion is None:
        secret = Secret(
            context.tokens_namespace,
            state.ref.companion,
            type=core_annotations.COMPANION_TYPE,
            annotations=wanted.annotations(),
            data=wanted.data(),
        )
        stored = yield from CreateSecret(secret)
    else:
        data: dict[str, Sensitive | None] = {}
        # Whatever ails a token, the access token that nodes have is theirs until it expires.
        if wanted.token is not None or not (override and override.blocks):
            data = {**dict.fromkeys(state.companion.data), **wanted.data()}
        patch = SecretPatch(annotations={**wanted.annotations()}, data=data)
        stored = yield from PatchSecret(state.companion, patch)
    return state.with_companion(stored), None


def _desired_companion(
    state: TokenState, override: StatusOverride | None, now: float
) -> Companion | None:
    grant, source = state.grant, state.source
    if source is None or (grant is None and override is None):
        return None
    if grant is None or (override is not None and override.blocks):
        status, message = (override.status, override.message) if override else (Status.PENDING, "")
    else:
        status, message = grant.status, grant.message
    return Companion(
        source=state.ref,
        source_uid=source.uid,
        generation=grant.generation if grant else companion.generation_of(state.companion),
        status=status,
        message=message,
        next_refresh=(grant.next_refresh or 0.0) if grant else 0.0,
        token=grant.access_token(now) if grant else None,
    )


def _differs(seen: Companion, wanted: Companion, *, quietly: bool) -> bool:
    """Whether nodes should be told; never with an older generation than they have seen."""
    if wanted.generation < seen.generation:
        return False
    return (
        seen.generation != wanted.generation
        or seen.source_uid != wanted.source_uid
        or seen.status is not wanted.status
        or seen.message != wanted.message
        or (not quietly and int(seen.next_refresh) != int(wanted.next_refresh))
    )
