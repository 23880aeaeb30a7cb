"""What an exchange does to a grant: tokens arrived, or did not (docs/protocol.md 4.5, 5)."""

import math
from dataclasses import replace

from csidriver.core import schedule
from csidriver.core.grant import MAX_SPENT, Grant, withdraw, working_life
from csidriver.core.issuers import UNLIMITED, Issuer
from csidriver.core.outcome import Failed
from csidriver.core.status import (
    LOST_MESSAGE,
    MEANINGS,
    READY_MESSAGE,
    UNCERTAIN_MESSAGE,
    UNSETTLED_MESSAGE,
    Kind,
    Pace,
    Signal,
    Status,
    Warn,
)
from csidriver.core.token import TokenDocument, claims

# Seconds after the first and second unknown outcome, where the server tolerates repetitions.
_REPEATS = {1: 1.0, 2: 3.0}


def succeed(grant: Grant, reply: TokenDocument, sent_at: float, issuer: Issuer, u: float) -> Grant:
    """The grant after tokens arrived. A new refresh token is kept whatever is wrong with the rest.

    `sent_at` is the instant before sending, so that expiry is never later than the server's;
    `u` in [0, 1) spreads the next refresh.
    """
    rotated = reply.refresh_token is not None and reply.refresh_token.hash() != grant.live
    bearer = reply.token_type.lower() == "bearer"
    fresh = reply.access_token if bearer else None
    said = claims(fresh) if fresh is not None else None
    life = schedule.lifetime(
        reply.seconds("expires_in"), said.iat if said else None, said.exp if said else None
    )
    assumed = life is None
    life = issuer.default_lifetime if life is None else life
    kept = reply if fresh else reply.without("access_token", "token_type", "expires_in")
    after = replace(
        grant,
        document=grant.document.merge(kept, sent_at + life if fresh else None),
        generation=grant.generation + 1,
        spent=_spent(grant, reply) if rotated else grant.spent,
        intent=None,
    )
    if fresh is None:
        signal = Signal.BAD_REPLY if bearer else Signal.TOKEN_TYPE
        return _failed(after, Failed(signal), sent_at, issuer, u, Status.MISCONFIGURED)
    return replace(
        after,
        issued_at=sent_at,
        expires_at=sent_at + life,
        next_refresh=schedule.due(
            sent_at,
            life,
            u=u,
            minimum=issuer.min_lead,
            refresh_life=reply.seconds("refresh_expires_in") or 0.0,
        ),
        status=Status.READY,
        message=READY_MESSAGE,
        warning=Warn.DEFAULT_LIFETIME.value if assumed else "",
        failures=0,
    )


def _spent(grant: Grant, reply: TokenDocument) -> tuple[str, ...]:
    """The replaced tokens, less the one that a server with a grace window may hand out again."""
    fresh = reply.refresh_token
    kept = (h for h in (*grant.spent, grant.live) if fresh is None or h != fresh.hash())
    return tuple(kept)[-MAX_SPENT:]


def fail(grant: Grant, failed: Failed, now: float, issuer: Issuer, u: float) -> Grant:
    """The grant after an exchange without tokens. Nothing is ever deleted here."""
    if failed.kind is Kind.UNCERTAIN and issuer.reuse != UNLIMITED:
        return _uncertain(grant, now, issuer)
    repeated = grant.intent is not None and grant.intent.attempt > 1
    final = (Signal.INVALID_GRANT, Signal.LOGIN_REQUIRED)
    if repeated and failed.signal not in final:
        return _still_uncertain(grant, failed, now, issuer, u)
    if repeated and failed.signal is Signal.INVALID_GRANT:
        return replace(
            grant,
            intent=None,
            status=Status.LOST_ROTATION,
            message=LOST_MESSAGE,
            next_refresh=None,
            failures=grant.failures + 1,
        )
    status = MEANINGS[failed.signal].status
    if failed.kind is Kind.UNCERTAIN:  # the server never rotates: nothing can have been spent
        status = Status.ISSUER_UNAVAILABLE
    return _failed(replace(grant, intent=None), failed, now, issuer, u, status)


def _failed(
    grant: Grant, failed: Failed, now: float, issuer: Issuer, u: float, status: Status
) -> Grant:
    meaning = MEANINGS[failed.signal]
    # "A few quick tries" counts tries that ended alike, not an outage before them.
    counting = meaning.pace not in (Pace.HALF_HOUR, Pace.UNKNOWN) or grant.status is status
    failures = grant.failures + 1 if counting else 1
    # Only a repeated refusal confirms one; failures of another kind before it prove nothing.
    counted = int(grant.status is status) + 1 if meaning.pace is Pace.ONCE_LATER else failures
    remaining = grant.expires_at - now
    life = working_life(grant, issuer)
    wait = schedule.retry(
        meaning.pace, counted, u=u, remaining=remaining, life=life, pause=failed.pause
    )
    # Trouble of the issuer concerns the user only when the token in hand runs short.
    quiet = status is Status.ISSUER_UNAVAILABLE and remaining > schedule.lead(life) / 2
    return replace(
        grant,
        failures=failures,
        next_refresh=None if wait is None else now + wait,
        status=grant.status if quiet else status,
        message=grant.message if quiet else meaning.message,
    )


def _still_uncertain(grant: Grant, failed: Failed, now: float, issuer: Issuer, u: float) -> Grant:
    """A repetition that proved nothing does not count; what the first send did is still unknown."""
    waiting = _failed(withdraw(grant), failed, now, issuer, u, Status.UNCERTAIN)
    return replace(waiting, message=UNCERTAIN_MESSAGE)


def _uncertain(grant: Grant, now: float, issuer: Issuer) -> Grant:
    """Keep the intent, plan the one more presentation that the issuer tolerates (section 4)."""
    again: float | None = None
    intent = grant.intent
    if intent is not None:
        planned = now + _REPEATS.get(intent.attempt, math.inf)
        if planned < intent.first_at + issuer.reuse:
            again = planned
        elif intent.attempt <= 1:
            soonest = now + schedule.gap(working_life(grant, issuer))
            again = max(soonest, grant.expires_at - schedule.lead(grant.life) / 4)
    return replace(
        grant,
        intent=None if intent is None else replace(intent, recorded=True),
        status=Status.UNCERTAIN,
        message=UNSETTLED_MESSAGE if again is None else UNCERTAIN_MESSAGE,
        next_refresh=again,
        failures=grant.failures + 1,
    )
