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
    known: TokenState, rules: RefreshContext, plight: StatusOverride | None
) -> Effects[TokenState]:
    """Write companion and mirror where they lag behind, then plan the next visit."""
    now = yield from Now()
    known, foreign = yield from store_companion(known, rules, plight, now)
    # A document that could not be adopted may hold a human's new token: leave it to its author.
    known = yield from store_mirror(known, foreign or plight, now, mirrors=plight is None)
    if known.spooled:
        yield from SpoolClear(known.ref)
        known = replace(known, spooled=False)
    return replace(known, next_reconcile=_next_visit(known, plight, now))


def _next_visit(known: TokenState, plight: StatusOverride | None, now: float) -> float | None:
    """When to come again (epoch seconds), None if only a change can help."""
    if known.grant is None or (plight is not None and plight.blocks):
        return known.requeue_at
    following, refused_at = known.grant.next_refresh, known.mirror_refused_at
    if known.requeue_at is not None and following is not None and following <= now:
        following = None  # due, but something is to be waited for first
    owed = plight is None and known.mirrored_generation < known.grant.generation
    retry = refused_at + MIRROR_RETRY if owed and refused_at is not None else None
    planned = (known.requeue_at, following, retry, login_expiry.next_warning(known.grant, now))
    return min((at for at in planned if at is not None), default=None)


def own_companion(known: TokenState) -> Secret | None:
    """The companion, unless the object under its name is somebody else's."""
    seen = companion.read(known.companion)
    return known.companion if seen is not None and seen.source == known.ref else None


def store_companion(
    known: TokenState, rules: RefreshContext, plight: StatusOverride | None, now: float
) -> Effects[tuple[TokenState, StatusOverride | None]]:
    """Write the companion where it differs; return a status that overrides if it is not ours."""
    seen = companion.read(known.companion)
    if known.companion is not own_companion(known):
        message = f"Secret {rules.tokens_namespace}/{known.ref.companion} is not ours; remove it"
        return known, StatusOverride(Status.MISCONFIGURED, message)
    wanted = _companion(known, plight, now)
    quietly = known.grant is not None and hides_failures(known.grant)
    if wanted is None or (seen is not None and not _differs(seen, wanted, quietly=quietly)):
        return known, None
    if known.companion is None:
        secret = Secret(
            rules.tokens_namespace,
            known.ref.companion,
            type=core_annotations.COMPANION_TYPE,
            annotations=wanted.annotations(),
            data=wanted.data(),
        )
        stored = yield from CreateSecret(secret)
    else:
        data: dict[str, Sensitive | None] = {}
        # Whatever ails a token, the access token that nodes have is theirs until it expires.
        if wanted.token is not None or not (plight and plight.blocks):
            data = {**dict.fromkeys(known.companion.data), **wanted.data()}
        patch = SecretPatch(annotations={**wanted.annotations()}, data=data)
        stored = yield from PatchSecret(known.companion, patch)
    return known.with_companion(stored), None


def _companion(known: TokenState, plight: StatusOverride | None, now: float) -> Companion | None:
    grant, source = known.grant, known.source
    if source is None or (grant is None and plight is None):
        return None
    if grant is None or (plight is not None and plight.blocks):
        status, message = (plight.status, plight.message) if plight else (Status.PENDING, "")
    else:
        status, message = grant.status, grant.message
    return Companion(
        source=known.ref,
        source_uid=source.uid,
        generation=grant.generation if grant else companion.shown(known.companion),
        status=status,
        message=message,
        next_refresh=(grant.next_refresh or 0.0) if grant else 0.0,
        token=grant.token(now) if grant else None,
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
