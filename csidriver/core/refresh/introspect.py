"""Introspection of a refresh token that may be spent, before it is sent (RFC 7662).

Introspection consumes nothing. docs/protocol.md section 4 has the rules.
"""

from dataclasses import replace

from csidriver.core.oauth.issuers import Issuer
from csidriver.core.refresh import messages, schedule
from csidriver.core.refresh.commit import commit
from csidriver.core.refresh.effects import Introspect
from csidriver.core.refresh.grant import Grant, effective_lifetime
from csidriver.core.refresh.outcomes import REPEAT_DELAYS, last_attempt_at
from csidriver.core.refresh.state import Effects, RefreshContext, TokenState
from csidriver.core.sensitive import Sensitive
from csidriver.core.status import Status


def check_before_sending(
    state: TokenState,
    grant: Grant,
    token: Sensitive,
    issuer: Issuer,
    context: RefreshContext,
    now: float,
) -> Effects[tuple[TokenState, bool]]:
    """Ask the issuer about the token if needed. The second result is True if it may be sent."""
    if not issuer.supports_introspection or not needs_introspection(grant, issuer, now):
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
    """Return True if the token may be spent already, or is probably invalid."""
    intent = grant.intent
    if intent is not None and intent.refresh_token_hash == grant.live_hash:
        # Within its reuse window the issuer accepts a spent token and returns the new one.
        return intent.attempt not in REPEAT_DELAYS or now >= intent.first_at + issuer.reuse
    return grant.status is Status.NEEDS_REAUTH


def _after_no_answer(state: TokenState, grant: Grant, now: float) -> tuple[TokenState, bool]:
    """Apply the rules for an issuer without introspection."""
    if grant.intent is None:
        return state, True
    retry_at = last_attempt_at(grant, 0.0) if grant.intent.attempt <= 1 else None
    if retry_at is not None and retry_at <= now:
        return state, True
    message = grant.message if retry_at else messages.UNCERTAIN_TWICE_MESSAGE
    return replace(state, grant=replace(grant, next_refresh=retry_at, message=message)), False


def _after_inactive(grant: Grant) -> Grant:
    if grant.intent is None:
        return replace(grant, next_refresh=None)
    return replace(
        grant,
        intent=None,
        status=Status.LOST_ROTATION,
        message=messages.LOST_ROTATION_MESSAGE,
        next_refresh=None,
    )
