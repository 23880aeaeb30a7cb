"""When to refresh: expiry, lead, jitter, retry. Pure functions of seconds and epoch seconds.

The rules are docs/protocol.md section 5; the numbers stand here once.
"""

from dataclasses import dataclass

from csidriver.core.backoff import backoff
from csidriver.core.oauth.issuers import MAX_LIFETIME
from csidriver.core.refresh.failures import RetryPolicy

REFRESH_TOKEN_CEILING = 7 * 86400.0
SHORT_LIFETIME = 40.0


@dataclass(frozen=True, slots=True)
class ExchangeTimeouts:
    """Upper bounds that the operator may lower, in seconds."""

    http_timeout: float = 20.0
    takeover_after: float = 100.0


def lifetime(expires_in: float | None, issued: float | None, expiry: float | None) -> float | None:
    """Seconds an access token lives: the shorter of what the reply and its JWT say.

    None when neither says anything credible (0, negative, over 400 days): the caller falls back
    to the issuer's default and warns.
    """
    of_jwt = expiry - issued if expiry is not None and issued is not None else None
    said = [s for s in (expires_in, of_jwt) if s is not None and 1 <= s <= MAX_LIFETIME]
    return min(said, default=None)


def lead_time(life: float, minimum: float = 0.0) -> float:
    """Seconds before expiry at which a token of this lifetime is to be replaced."""
    return min(0.5 * life, max(0.2 * life, min(120.0, 0.5 * life), minimum))


def next_refresh_at(
    issued_at: float, life: float, *, u: float, minimum: float = 0.0, refresh_life: float = 0.0
) -> float:
    """Epoch seconds of the next refresh: early enough, spread, never in a hot loop.

    `refresh_life` is the remaining life of the refresh token in seconds at `issued_at`, 0 if it
    does not expire; it is used at half of it, and every 7 days otherwise (idle time-outs).
    """
    jitter = u * min(0.1 * life, 600.0)
    wanted = issued_at + life - lead_time(life, minimum) - jitter
    guard = issued_at + (0.5 * refresh_life if refresh_life > 0 else REFRESH_TOKEN_CEILING)
    return max(min(wanted, guard), issued_at + max(min_interval(life), life / 4))


def min_interval(life: float) -> float:
    """Least seconds between two sends for one grant; a server that says 1 s is not believed."""
    return max(1.0, life / 4) if life < SHORT_LIFETIME else 10.0


def http_timeout(life: float, limits: ExchangeTimeouts, minimum: float = 0.0) -> float:
    """Seconds one exchange may take in all."""
    return min(limits.http_timeout, lead_time(life, minimum) / 8)


def takeover_after(life: float, limits: ExchangeTimeouts, minimum: float = 0.0) -> float:
    """Seconds after which another replica may consider an intent abandoned."""
    wanted = min(limits.takeover_after, lead_time(life, minimum) / 2)
    return max(wanted, 2 * http_timeout(life, limits, minimum) + 5.0)


def retry(
    pace: RetryPolicy,
    failures: int,
    *,
    u: float,
    remaining: float,
    life: float,
    pause: float | None,
) -> float | None:
    """Seconds until the next attempt, None when only a change can help.

    `remaining` is what the access token has left, `pause` what Retry-After says, in seconds.
    """
    cap = min(lead_time(life) / 4, 300.0) if remaining > 0 else 60.0
    quick = max(min_interval(life), backoff(failures, u, cap))
    quick_tries = {
        RetryPolicy.HALF_HOUR: 3,
        RetryPolicy.UNKNOWN: 5,
        RetryPolicy.SECOND_LOOK: 1,
        RetryPolicy.BACKOFF: failures,
    }
    if failures <= quick_tries.get(pace, 0):
        return quick
    if pace is RetryPolicy.RETRY_AFTER:
        return max(quick, min(max(pause or 0.0, 1.0), 3600.0))
    if pace is RetryPolicy.ONCE_LATER and failures > 1:
        return None
    return _FIXED[pace]


_FIXED = {
    RetryPolicy.MINUTES: 300.0,
    RetryPolicy.ONCE_LATER: 300.0,
    RetryPolicy.HALF_HOUR: 1800.0,
    RetryPolicy.HOURLY: 3600.0,
    RetryPolicy.SECOND_LOOK: 3600.0,
    RetryPolicy.UNKNOWN: 3600.0,
    RetryPolicy.STOP: None,
}
