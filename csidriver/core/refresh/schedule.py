"""When to refresh: expiry, lead, jitter, retry. Pure functions of seconds and epoch seconds.

The rules are docs/protocol.md section 5; the numbers stand here once.
"""

from dataclasses import dataclass

from csidriver.core.backoff import backoff
from csidriver.core.oauth.issuers import MAX_LIFETIME
from csidriver.core.refresh.failures import RetryPolicy

MAX_REFRESH_TOKEN_IDLE = 7 * 86400.0
SHORT_LIFETIME = 40.0


@dataclass(frozen=True, slots=True)
class RequestTimeouts:
    """Upper bounds that the operator may lower, in seconds."""

    http_timeout: float = 20.0
    takeover_after: float = 100.0


def token_lifetime(
    expires_in: float | None, issued: float | None, expiry: float | None
) -> float | None:
    """Seconds an access token lives: the shorter of what the reply and its JWT say.

    None when neither says anything credible (0, negative, over 400 days): the caller falls back
    to the issuer's default and warns.
    """
    of_jwt = expiry - issued if expiry is not None and issued is not None else None
    said = [s for s in (expires_in, of_jwt) if s is not None and 1 <= s <= MAX_LIFETIME]
    return min(said, default=None)


def lead_time(lifetime: float, minimum: float = 0.0) -> float:
    """Seconds before expiry at which a token of this lifetime is to be replaced."""
    return min(0.5 * lifetime, max(0.2 * lifetime, min(120.0, 0.5 * lifetime), minimum))


def next_refresh_at(
    issued_at: float,
    lifetime: float,
    *,
    u: float,
    minimum: float = 0.0,
    refresh_token_lifetime: float = 0.0,
) -> float:
    """Epoch seconds of the next refresh: early enough, spread, never in a hot loop.

    `refresh_token_lifetime`: seconds that the refresh token lives from `issued_at` on, 0 if it
    does not expire; it is used at half of it, and every 7 days otherwise (idle time-outs).
    """
    jitter = u * min(0.1 * lifetime, 600.0)
    wanted = issued_at + lifetime - lead_time(lifetime, minimum) - jitter
    guard = issued_at + (
        0.5 * refresh_token_lifetime if refresh_token_lifetime > 0 else MAX_REFRESH_TOKEN_IDLE
    )
    return max(min(wanted, guard), issued_at + max(min_interval(lifetime), lifetime / 4))


def min_interval(lifetime: float) -> float:
    """Least seconds between two sends for one grant; a server that says 1 s is not believed."""
    return max(1.0, lifetime / 4) if lifetime < SHORT_LIFETIME else 10.0


def http_timeout(lifetime: float, timeouts: RequestTimeouts, minimum: float = 0.0) -> float:
    """Seconds one exchange may take in all."""
    return min(timeouts.http_timeout, lead_time(lifetime, minimum) / 8)


def takeover_after(lifetime: float, timeouts: RequestTimeouts, minimum: float = 0.0) -> float:
    """Seconds after which another replica may consider an intent abandoned."""
    wanted = min(timeouts.takeover_after, lead_time(lifetime, minimum) / 2)
    return max(wanted, 2 * http_timeout(lifetime, timeouts, minimum) + 5.0)


def retry_delay(
    policy: RetryPolicy,
    failures: int,
    *,
    u: float,
    remaining: float,
    lifetime: float,
    pause: float | None,
) -> float | None:
    """Seconds until the next attempt, None when only a change can help.

    `remaining` is what the access token has left, `pause` what Retry-After says, in seconds.
    """
    cap = min(lead_time(lifetime) / 4, 300.0) if remaining > 0 else 60.0
    quick = max(min_interval(lifetime), backoff(failures, u, cap))
    quick_tries = {
        RetryPolicy.THREE_QUICK: 3,
        RetryPolicy.FIVE_QUICK: 5,
        RetryPolicy.ONE_QUICK: 1,
        RetryPolicy.BACKOFF: failures,
    }
    if failures <= quick_tries.get(policy, 0):
        return quick
    if policy is RetryPolicy.RETRY_AFTER:
        return max(quick, min(max(pause or 0.0, 1.0), 3600.0))
    if policy is RetryPolicy.ONCE_LATER and failures > 1:
        return None
    return _FIXED[policy]


_FIXED = {
    RetryPolicy.FIVE_MINUTES: 300.0,
    RetryPolicy.ONCE_LATER: 300.0,
    RetryPolicy.THREE_QUICK: 1800.0,
    RetryPolicy.HOURLY: 3600.0,
    RetryPolicy.ONE_QUICK: 3600.0,
    RetryPolicy.FIVE_QUICK: 3600.0,
    RetryPolicy.NEVER: None,
}
