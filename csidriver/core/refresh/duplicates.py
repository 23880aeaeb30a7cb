"""Two Secrets with the same login: only the one adopted first is refreshed (section 2.5).

The other has the status DuplicateGrant.
"""

from dataclasses import replace

from csidriver.core.names import SourceRef
from csidriver.core.refresh import messages
from csidriver.core.refresh.commit import commit
from csidriver.core.refresh.effects import Duplicate, FindDuplicates, Now
from csidriver.core.refresh.grant import Grant, login_id
from csidriver.core.refresh.state import Effects, TokenState
from csidriver.core.status import Status

# Seconds until the next check whether the older grant still exists; a check costs no request.
RECHECK_SECONDS = 60.0


def check_duplicates(state: TokenState) -> Effects[TokenState]:
    """Stop the refresh of a grant with an older duplicate; resume it when that is gone."""
    grant = state.grant
    now = yield from Now()
    if grant is None or state.grant_stale:
        return state
    marked = grant.status is Status.DUPLICATE_GRANT
    if not marked and (grant.next_refresh is None or now < grant.next_refresh):
        return state
    this = Duplicate(grant.adopted_at, state.ref)
    others = yield from FindDuplicates(state.ref, grant.adopted_at, grant.token_hashes)
    older = min((other for other in others if other < this), default=None)
    if older is None:
        return replace(state, grant=_resumed(grant, now)) if marked else state
    state = replace(state, requeue_at=now + RECHECK_SECONDS)
    duplicate_of = login_id(older.ref, older.adopted_at)
    if marked and grant.duplicate_of == duplicate_of:
        return state
    # Store it: after the next refresh of the older grant, the two have no hash in common.
    after = replace(
        grant,
        status=Status.DUPLICATE_GRANT,
        message=messages.DUPLICATE_MESSAGE.format(other=_display_name(older.ref, state.ref)),
        duplicate_of=duplicate_of,
        next_refresh=None,
    )
    return (yield from commit(state, grant, after))


def _display_name(other: SourceRef, ref: SourceRef) -> str:
    """Hide names of other namespaces from the users of this one."""
    same = other.namespace == ref.namespace
    return f"Secret {other.name}" if same else "a Secret of another namespace"


def _resumed(grant: Grant, now: float) -> Grant:
    valid = grant.expires_at > now
    return replace(
        grant,
        status=Status.READY if valid else Status.PENDING,
        message=messages.READY_MESSAGE if valid else messages.PENDING_MESSAGE,
        duplicate_of="",
        next_refresh=now,
    )
