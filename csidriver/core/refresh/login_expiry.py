"""The expiry of the refresh token, and the warnings of it (docs/protocol.md 6).

Most issuers renew it with every refresh. Users are warned only if the issuer does not.
"""

from csidriver.core.refresh.grant import Grant

# Seconds before the expiry of the refresh token.
WARNING_TIMES = (7 * 86400.0, 86400.0, 3600.0)


def is_final(grant: Grant) -> bool:
    """Return True if no refresh renews the refresh token's expiry."""
    return grant.refresh_expires_at > 0 and not grant.refresh_renewed


def warnings_due(grant: Grant, now: float) -> int:
    return sum(grant.refresh_expires_at - s <= now for s in WARNING_TIMES) if is_final(grant) else 0


def next_warning(grant: Grant, now: float) -> float | None:
    """Return when the next warning is due (epoch seconds), None if there is none."""
    if not is_final(grant):
        return None
    return min(
        (at for s in WARNING_TIMES if (at := grant.refresh_expires_at - s) > now), default=None
    )
