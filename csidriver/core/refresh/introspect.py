"""The check of a refresh token that may be spent, before it is sent (docs/protocol.md 4).

Introspection (RFC 7662) and the probe of the server consume nothing.
"""

from dataclasses import replace

from csidriver.core.oauth.introspection import Introspection
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.refresh import schedule
from csidriver.core.refresh.commit import commit
from csidriver.core.refresh.effects import Introspect, Probe
from csidriver.core.refresh.grant import Grant, effective_lifetime
from csidriver.core.refresh.outcomes import (
    PERMANENT_AFTER,
    after_outcome,
    is_reusable,
    last_attempt_at,
    refusal,
    sent,
)
from csidriver.core.refresh.state import Effects, RefreshContext, TokenState
from csidriver.core.refresh.transitions import Outcome, Sent
from csidriver.core.sensitive import Sensitive


def check_before_sending(
    state: TokenState,
    grant: Grant,
    token: Sensitive,
    issuer: Issuer,
    context: RefreshContext,
    now: float,
) -> Effects[tuple[TokenState, bool]]:
    """Ask the issuer about the token. The second result is True if it may be sent."""
    answer = Introspection.REFUSED
    reusable = is_reusable(grant, issuer, now)
    # A server that would still accept a spent token calls it inactive.
    if issuer.supports_introspection and not reusable:
        lifetime = effective_lifetime(grant, issuer)
        timeout = schedule.http_timeout(lifetime, context.timeouts, issuer.min_lead)
        answer = yield from Introspect(issuer, grant.client, token, timeout)
    if answer is Introspection.UNCLEAR and now >= grant.failing_since + PERMANENT_AFTER:
        answer = Introspection.REFUSED
    outcome = None if reusable else _outcome(grant, answer, issuer, now)
    if outcome is None and answer is Introspection.REFUSED and grant.intent is not None:
        # An attempt is wasted on a server that is not there.
        alive = yield from Probe(issuer)
        if not alive:
            outcome = Outcome.REUSABLE if reusable else Outcome.SILENT
    if outcome is None:
        return state, True
    after = after_outcome(grant, outcome, now, issuer)
    if after.next_refresh is None:
        return (yield from commit(state, grant, after)), False
    # The stored intent leads to the same decision after a restart.
    return replace(state, grant=after), False


def _outcome(grant: Grant, answer: Introspection, issuer: Issuer, now: float) -> Outcome | None:
    """Return the outcome, None if the token may be sent."""
    if answer is Introspection.INACTIVE:
        return refusal(grant, Outcome.INACTIVE, now)
    if answer in (Introspection.SILENT, Introspection.UNCLEAR):
        return Outcome.SILENT
    if answer is Introspection.ACTIVE or grant.intent is None:
        return None
    may_send = sent(grant, issuer) is not Sent.REPEAT and now >= last_attempt_at(grant, 0.0)
    return None if may_send else Outcome.UNKNOWN
