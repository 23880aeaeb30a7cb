"""The permission to send one token request now (docs/protocol.md 5)."""

import math
from dataclasses import replace

from csidriver.core.oauth.issuers import Issuer
from csidriver.core.refresh import messages, schedule
from csidriver.core.refresh.effects import AcquireSendSlot
from csidriver.core.refresh.grant import Grant, effective_lifetime
from csidriver.core.refresh.source import Client
from csidriver.core.refresh.state import Effects, TokenState
from csidriver.core.status import Status

# Seconds until the next check if this process may not send now: it stops, or is not the leader.
RECHECK = 1.0
# Seconds; the status does not mention a shorter pause of the issuer.
LONG_PAUSE = 5.0


def acquire_slot(
    state: TokenState, grant: Grant, issuer: Issuer, client: Client, now: float
) -> Effects[TokenState]:
    """Acquire a slot; without one, return the state with `requeue_at`, when to ask again."""
    pause = yield from AcquireSendSlot(issuer, state.ref, client)
    if pause <= 0:
        return state
    grant = _delayed_by_limit(grant, pause, now, issuer)
    requeue_at = now + (pause if math.isfinite(pause) else RECHECK)
    return replace(state, grant=grant, requeue_at=requeue_at)


def _delayed_by_limit(grant: Grant, pause: float, now: float, issuer: Issuer) -> Grant:
    """Return the grant with a status for the pause if its access token expires soon."""
    lead = schedule.lead_time(effective_lifetime(grant, issuer))
    expires_soon = grant.expires_at - now < lead / 2
    works = grant.status in (Status.READY, Status.PENDING)
    if not (expires_soon and works and LONG_PAUSE < pause < math.inf):
        return grant
    return replace(grant, status=Status.ISSUER_UNAVAILABLE, message=messages.DELAYED_MESSAGE)
