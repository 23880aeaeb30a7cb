"""Asking the server about a token that may be spent, before it is presented (RFC 7662).

Asking consumes nothing. What follows from "inactive", "active" and silence stands in
docs/protocol.md section 4; without introspection nothing here happens.
"""

from dataclasses import replace

from csidriver.core.oauth.issuers import Issuer
from csidriver.core.refresh import schedule
from csidriver.core.refresh.commit import commit
from csidriver.core.refresh.effects import Introspect
from csidriver.core.refresh.grant import Grant, effective_lifetime, sendable_refresh_token
from csidriver.core.refresh.messages import LOST_ROTATION_MESSAGE, UNCERTAIN_TWICE_MESSAGE
from csidriver.core.refresh.outcomes import REPEAT_DELAYS, last_attempt_at
from csidriver.core.refresh.state import Effects, RefreshContext, TokenState
from csidriver.core.status import Status


def check_before_sending(
    state: TokenState, issuer: Issuer, context: RefreshContext, now: float
) -> Effects[tuple[TokenState, bool]]:
    """Whether the live token may be presented now, and what is known after asking."""
    grant = state.grant
    token = None if grant is None else sendable_refresh_token(grant)
    if grant is None or token is None or not issuer.supports_introspection:
        return state, True
    if not needs_introspection(grant, issuer, now):
        return state, True
    timeout = schedule.http_timeout(
        effective_lifetime(grant, issuer), context.timeouts, issuer.min_lead
    )
    active = yield from Introspect(issuer, grant.client, token, timeout)
    if active is None:
        return _after_no_answer(state, grant, now)
    if active:
        return state, True
    return (yield from commit(state, grant, _after_inactive(grant))), False


def needs_introspection(grant: Grant, issuer: Issuer, now: float) -> bool:
    """Whether presenting this token could be the second time, or in vain."""
    intent = grant.intent
    if intent is not None and intent.refresh_token_hash == grant.live_hash:
        # Within its window the server serves a spent token, too, which brings the new one.
        return intent.attempt not in REPEAT_DELAYS or now >= intent.first_at + issuer.reuse
    return grant.status is Status.NEEDS_REAUTH


def _after_no_answer(state: TokenState, grant: Grant, now: float) -> tuple[TokenState, bool]:
    """The server does not say: what section 4 allows without asking."""
    if grant.intent is None:
        return state, True
    late: float | None = last_attempt_at(grant, 0.0)
    if grant.intent.attempt > 1:
        late = None
    elif late is not None and late <= now:
        return state, True
    message = grant.message if late else UNCERTAIN_TWICE_MESSAGE
    return replace(state, grant=replace(grant, next_refresh=late, message=message)), False


def _after_inactive(grant: Grant) -> Grant:
    """The server no longer knows the token: a new login is needed, whoever spent it."""
    if grant.intent is None:
        return replace(grant, next_refresh=None)
    return replace(
        grant,
        intent=None,
        status=Status.LOST_ROTATION,
        message=LOST_ROTATION_MESSAGE,
        next_refresh=None,
    )
