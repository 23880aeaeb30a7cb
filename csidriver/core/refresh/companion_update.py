"""The companion, and the order of all writes for nodes and users (docs/protocol.md 4.7).

Level-triggered: compares the objects with the desired ones, and writes only the difference. A lost
write loses no token, because the grant has it already.
"""

from dataclasses import replace

from csidriver.core import annotations as core_annotations
from csidriver.core import companion
from csidriver.core.companion import Companion
from csidriver.core.kubernetes.secret import Secret, SecretPatch
from csidriver.core.refresh.effects import CreateSecret, Now, PatchSecret, SpoolClear
from csidriver.core.refresh.login_expiry import next_warning
from csidriver.core.refresh.mirror import MIRROR_RETRY, store_mirror
from csidriver.core.refresh.source_annotations import (
    StatusOverride,
    hides_failures,
    withholds_token,
)
from csidriver.core.refresh.state import Effects, RefreshContext, TokenState
from csidriver.core.sensitive import Sensitive
from csidriver.core.status import Status


def store_companion_and_mirror(
    state: TokenState, context: RefreshContext, override: StatusOverride | None
) -> Effects[TokenState]:
    """Write companion and mirror where they differ, then set `next_reconcile`."""
    now = yield from Now()
    state, foreign = yield from store_companion(state, context, override, now)
    reported = override if withholds_token(override) else foreign or override
    # A source with a problem may hold the user's new token.
    state = yield from store_mirror(state, reported, now, mirrors=override is None)
    if state.spooled:
        yield from SpoolClear(state.ref)
        state = replace(state, spooled=False)
    return replace(state, next_reconcile=_next_reconcile(state, override, now))


def _next_reconcile(state: TokenState, override: StatusOverride | None, now: float) -> float | None:
    """Return epoch seconds, or None if only a change of an object can help."""
    grant, requeue_at, refused_at = state.grant, state.requeue_at, state.mirror_refused_at
    if grant is None or (override is not None and override.blocks):
        return min((at for at in (requeue_at, state.annotate_at) if at is not None), default=None)
    # A refresh that is due and was not made waits for `requeue_at`.
    waits = requeue_at is not None and grant.next_refresh is not None and grant.next_refresh <= now
    refresh_at = None if waits else grant.next_refresh
    retries_mirror = override is None and state.mirror_outdated and refused_at is not None
    mirror_at = (refused_at or 0.0) + MIRROR_RETRY if retries_mirror else None
    times = (
        *(requeue_at, refresh_at, mirror_at),
        *(state.annotate_at, state.status_due_at, next_warning(grant, now)),
    )
    return min((at for at in times if at is not None), default=None)


def own_companion(state: TokenState) -> Secret | None:
    """Return the companion unless another owner's object has its name."""
    observed = companion.parse_or_none(state.companion)
    return state.companion if observed is not None and observed.source == state.ref else None


def store_companion(
    state: TokenState, context: RefreshContext, override: StatusOverride | None, now: float
) -> Effects[tuple[TokenState, StatusOverride | None]]:
    """Write the companion if it differs. Return a status if another owner's object has its name."""
    observed = companion.parse_or_none(state.companion)
    if state.companion is not None and (observed is None or observed.source != state.ref):
        message = f"Secret {context.tokens_namespace}/{state.ref.companion} is not ours; remove it"
        return state, StatusOverride(Status.MISCONFIGURED, message)
    withholds = withholds_token(override)
    desired = _desired_companion(state, observed, override, now)
    hides = hides_failures(state.grant)
    if desired is None or (
        observed
        and not (withholds and observed.token)
        and not _differs(observed, desired, hides=hides)
    ):
        return state, None
    if state.companion is None:
        secret = Secret(
            context.tokens_namespace,
            state.ref.companion,
            type=core_annotations.COMPANION_SECRET_TYPE,
            annotations=desired.annotations(),
            data=desired.data(),
        )
        stored = yield from CreateSecret(secret)
    else:
        data: dict[str, Sensitive | None] = {}
        # A blocked source does not take its access token away, which is valid until it expires.
        same = observed is not None and observed.source_uid == desired.source_uid
        if desired.token is not None or withholds or not (override and override.blocks and same):
            data = {**dict.fromkeys(state.companion.data), **desired.data()}
        patch = SecretPatch(annotations={**desired.annotations()}, data=data)
        stored = yield from PatchSecret(state.companion, patch)
    return state.with_companion(stored), None


def _desired_companion(
    state: TokenState, observed: Companion | None, override: StatusOverride | None, now: float
) -> Companion | None:
    grant, source = state.grant, state.source
    if grant is None and override is None:
        return None
    source_uid = "" if grant is None else grant.source_uid
    owner, withholds = grant or observed, withholds_token(override)
    # A grant from a backup may be older than what nodes have seen: they go on with that.
    published = observed.generation if observed and (grant is None or withholds) else 0
    if grant is None or (override is not None and override.blocks):
        status, message = (override.status, override.message) if override else (Status.PENDING, "")
    else:
        status, message = grant.status, grant.user_message
    return Companion(
        source=state.ref,
        source_uid=source_uid if source is None else source.uid,
        generation=max(grant.generation if grant else 0, published),
        status=status,
        message=message,
        next_refresh=(grant.next_refresh or 0.0) if grant and not withholds else 0.0,
        token=grant.access_token(now) if grant and not withholds else None,
        namespace_uid=owner.namespace_uid if owner else "",
    )


def _differs(observed: Companion, desired: Companion, *, hides: bool) -> bool:
    """Return True if nodes need an update, never one with a lower generation."""
    if desired.generation < observed.generation:
        return False
    return (
        observed.generation != desired.generation
        or observed.source_uid != desired.source_uid
        or observed.namespace_uid != desired.namespace_uid
        or observed.status is not desired.status
        or observed.message != desired.message
        or (not hides and int(observed.next_refresh) != int(desired.next_refresh))
    )
