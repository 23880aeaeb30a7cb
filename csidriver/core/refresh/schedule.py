"""The refresh schedule: lead time, jitter, timeouts, retries (docs/protocol.md 5)."""

from dataclasses import dataclass, replace

from csidriver.core.backoff import backoff
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.issuers import MAX_LIFETIME, Issuer
from csidriver.core.oauth.jwt import JwtClaims
from csidriver.core.refresh.grant import Grant, effective_lifetime
from csidriver.core.refresh.transitions import FAILURE_RULES
from csidriver.core.status import Status

MAX_REFRESH_TOKEN_IDLE = 7 * 86400.0
SHORT_LIFETIME = 40.0
MIN_TIMEOUT = 5.0
# Longest times to wait for a reply: on a strict server, if it can be asked, and after the expiry.
MAX_LATE, MAX_LATE_ASKABLE, MAX_LATE_EXPIRED = 300.0, 40.0, 20.0
# Longest delays of transient failures, while the access token is valid and after that.
MAX_DELAY, MAX_DELAY_EXPIRED = 300.0, 45.0
SLOW_MIN, SLOW_MAX = 300.0, 3600.0
# Seconds that the clocks of two machines may differ.
MAX_CLOCK_SKEW = 60.0
# What another configuration of the issuer may end.
_OF_CONFIGURATION = {FailureReason.FORBIDDEN} | {
    reason
    for reason, rule in FAILURE_RULES.items()
    if rule.status in (Status.MISCONFIGURED, Status.CLIENT_REJECTED)
}


@dataclass(frozen=True, slots=True)
class RequestTimeouts:
    """Upper bounds in seconds; short lifetimes lower them."""

    http_timeout: float = 20.0
    takeover_after: float = 100.0


def token_lifetime(expires_in: float | None, claims: JwtClaims, sent_at: float) -> float | None:
    """Return the shorter of the lifetimes in the reply and its JWT, in seconds.

    Ignore impossible ones (0, negative, over 400 days); None if neither is left. Only if nothing
    else is stated, the expiry is compared with our clock, which may differ from the issuer's.
    """

    def shortest(*stated: float | None) -> float | None:
        return min((s for s in stated if s is not None and 1 <= s <= MAX_LIFETIME), default=None)

    if claims.exp is None:
        return shortest(expires_in)
    if claims.iat is None:
        return shortest(expires_in) or shortest(claims.exp - sent_at)
    return shortest(expires_in, claims.exp - claims.iat)


def lead_time(lifetime: float, minimum: float = 0.0) -> float:
    """Return seconds before the expiry of an access token."""
    return min(0.5 * lifetime, max(0.2 * lifetime, min(120.0, 0.5 * lifetime), minimum))


def next_refresh_at(
    issued_at: float,
    lifetime: float,
    *,
    u: float,
    minimum: float = 0.0,
    refresh_token_lifetime: float = 0.0,
) -> float:
    """Return epoch seconds: early enough, spread by `u`, and never in a hot loop.

    A refresh token is used at half of its lifetime at the latest. If that is 0, for unknown, it is
    used after 7 days at the latest, because of idle timeouts.
    """
    jitter = u * min(0.1 * lifetime, 600.0)
    wanted = lifetime - lead_time(lifetime, minimum) - jitter
    max_idle = refresh_token_lifetime / 2 if refresh_token_lifetime > 0 else MAX_REFRESH_TOKEN_IDLE
    return issued_at + max(min(wanted, max_idle), min_interval(lifetime), lifetime / 4)


def min_interval(lifetime: float) -> float:
    """Return the least seconds between two sends for one grant, whatever the server says."""
    return max(1.0, lifetime / 4) if lifetime < SHORT_LIFETIME else 10.0


def http_timeout(lifetime: float, timeouts: RequestTimeouts, minimum: float = 0.0) -> float:
    """Return seconds for a request; slow servers need MIN_TIMEOUT also for short lifetimes."""
    return min(timeouts.http_timeout, max(MIN_TIMEOUT, lead_time(lifetime, minimum) / 8))


def late_timeout(
    timeout: float, remaining: float, lifetime: float, reuse: float, *, can_ask: bool
) -> float:
    """Return seconds to wait for a reply, in which nothing else is done about the token.

    A strict server is waited for until the last attempt, if nothing can be asked before. Within a
    reuse window three requests must have room.
    """
    if reuse > 0:
        return max(timeout, min(MAX_LATE_EXPIRED, (reuse - 4.0) / 3))
    until_last_attempt = remaining - lead_time(lifetime) / 4
    if until_last_attempt <= timeout:
        return max(timeout, MAX_LATE_EXPIRED)
    return min(until_last_attempt, MAX_LATE_ASKABLE if can_ask else MAX_LATE)


def takeover_after(lifetime: float, timeouts: RequestTimeouts, minimum: float = 0.0) -> float:
    wanted = min(timeouts.takeover_after, lead_time(lifetime, minimum) / 2)
    return max(wanted, 2 * http_timeout(lifetime, timeouts, minimum) + 5.0)


def transient_delay(failures: int, u: float, remaining: float, lifetime: float) -> float:
    """Return seconds until the next attempt; `remaining` is what the access token has left.

    The delays double from 2 s, with jitter `u`.
    """
    cap = min(remaining / 4, MAX_DELAY) if remaining > 0 else MAX_DELAY_EXPIRED
    return max(min_interval(lifetime), backoff(failures, u, cap))


def slow_delay(failing_for: float) -> float:
    """Return seconds until the next attempt: as long again as it has failed already."""
    return min(max(failing_for, SLOW_MIN), SLOW_MAX)


def reschedule_if_obsolete(grant: Grant, issuer: Issuer, now: float) -> Grant:
    """Schedule an attempt soon if the operator changed the issuer, or the clock was far ahead."""
    if grant.next_refresh is None:
        return grant
    soon = now + min_interval(effective_lifetime(grant, issuer))
    if grant.failures == 0 and grant.issued_at > now + MAX_CLOCK_SKEW:
        return replace(grant, next_refresh=min(soon, grant.next_refresh))
    if grant.failure_reason is None or grant.failure_reason not in _OF_CONFIGURATION:
        return grant
    if grant.fingerprint == issuer.fingerprint:
        return grant
    return replace(
        grant,
        fingerprint=issuer.fingerprint,
        failures=0,
        failure_reason=None,
        next_refresh=min(soon, grant.next_refresh),
    )


def reschedule_if_requested(grant: Grant, requested_at: float, now: float) -> Grant:
    """Schedule an attempt at once if the user asks for one, and has not with the same instant.

    A failing token keeps its backoff. One that is due soon is not written again for each request.
    """
    if requested_at in (0.0, grant.refresh_requested_at):
        return grant
    grant = replace(grant, refresh_requested_at=requested_at)
    least = min_interval(grant.lifetime)
    works = grant.status is Status.READY and grant.failures == 0
    if not works or grant.next_refresh is None or grant.next_refresh <= now + least:
        return grant
    return replace(grant, next_refresh=max(now, grant.issued_at + least))
