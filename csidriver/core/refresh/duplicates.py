"""One login in two Secrets: the younger one is told, and nothing is sent for it (section 2.5)."""

from dataclasses import replace

from csidriver.core.names import SourceRef
from csidriver.core.refresh.commit import commit
from csidriver.core.refresh.effects import Duplicate, FindDuplicates, Now
from csidriver.core.refresh.grant import Grant, login_id
from csidriver.core.refresh.messages import DUPLICATE_MESSAGE, PENDING_MESSAGE, READY_MESSAGE
from csidriver.core.refresh.state import Effects, TokenState
from csidriver.core.status import Status

# Seconds between two looks whether the elder has gone; looking costs no request.
RECHECK_SECONDS = 60.0


def check_duplicates(state: TokenState) -> Effects[TokenState]:
    """Stop before the refresh token of somebody else's rotation is presented, or go on again."""
    grant = state.grant
    now = yield from Now()
    if grant is None or state.grant_stale:
        return state
    marked = grant.status is Status.DUPLICATE_GRANT
    if not marked and (grant.next_refresh is None or now < grant.next_refresh):
        return state
    self = Duplicate(grant.adopted_at, state.ref)
    others = yield from FindDuplicates(state.ref, grant.adopted_at, grant.token_hashes)
    elder = min((other for other in others if other < self), default=None)
    if elder is None:
        return replace(state, grant=_resumed(grant, now)) if marked else state
    state = replace(state, requeue_at=now + RECHECK_SECONDS)
    twin = login_id(elder.ref, elder.adopted_at)
    if marked and grant.duplicate_of == twin:
        return state
    # Remembered, for the elder's tokens will soon have nothing in common with this one.
    message = DUPLICATE_MESSAGE.format(other=_display_name(elder.ref, state.ref))
    after = replace(
        grant, status=Status.DUPLICATE_GRANT, message=message, duplicate_of=twin, next_refresh=None
    )
    return (yield from commit(state, grant, after))


def _display_name(elder: SourceRef, ref: SourceRef) -> str:
    """The elder's name, for those who may know it: names of other namespaces are not theirs."""
    same = elder.namespace == ref.namespace
    return f"Secret {elder.name}" if same else "a Secret of another namespace"


def _resumed(grant: Grant, now: float) -> Grant:
    usable = grant.expires_at > now
    return replace(
        grant,
        status=Status.READY if usable else Status.PENDING,
        message=READY_MESSAGE if usable else PENDING_MESSAGE,
        duplicate_of="",
        next_refresh=now,
    )
