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
LOOK_AGAIN = 60.0


def check_duplicates(known: TokenState) -> Effects[TokenState]:
    """Stop before the refresh token of somebody else's rotation is presented, or go on again."""
    grant = known.grant
    now = yield from Now()
    if grant is None or known.grant_stale:
        return known
    marked = grant.status is Status.DUPLICATE_GRANT
    if not marked and (grant.next_refresh is None or now < grant.next_refresh):
        return known
    self = Duplicate(grant.adopted_at, known.ref)
    others = yield from FindDuplicates(known.ref, grant.adopted_at, grant.token_hashes)
    elder = min((other for other in others if other < self), default=None)
    if elder is None:
        return replace(known, grant=_released(grant, now)) if marked else known
    known = replace(known, requeue_at=now + LOOK_AGAIN)
    twin = login_id(elder.ref, elder.adopted_at)
    if marked and grant.twin == twin:
        return known
    # Remembered, for the elder's tokens will soon have nothing in common with this one.
    message = DUPLICATE_MESSAGE.format(other=_called(elder.ref, known.ref))
    after = replace(
        grant, status=Status.DUPLICATE_GRANT, message=message, twin=twin, next_refresh=None
    )
    return (yield from commit(known, grant, after))


def _called(elder: SourceRef, ref: SourceRef) -> str:
    """The elder's name, for those who may know it: names of other namespaces are not theirs."""
    same = elder.namespace == ref.namespace
    return f"Secret {elder.name}" if same else "a Secret of another namespace"


def _released(grant: Grant, now: float) -> Grant:
    usable = grant.expires_at > now
    return replace(
        grant,
        status=Status.READY if usable else Status.PENDING,
        message=READY_MESSAGE if usable else PENDING_MESSAGE,
        twin="",
        next_refresh=now,
    )
