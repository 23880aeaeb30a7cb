"""The expiry of the refresh token, and the warnings of it (docs/protocol.md 6).

Most issuers renew it with every refresh. Users are warned only if the issuer does not.
"""

from csidriver.core.oauth.token_document import TokenDocument
from csidriver.core.refresh.grant import Grant

# Seconds before the expiry of the refresh token.
WARNING_TIMES = (7 * 86400.0, 86400.0, 3600.0)


def refresh_expiry(grant: Grant, reply: TokenDocument, sent_at: float) -> tuple[float, bool]:
    """Return the expiry (epoch seconds, 0 for never), and True if this refresh renewed it.

    `grant` is the one before the refresh. The first expiry counts as renewable until the next
    refresh shows otherwise. Keycloak sends 0 for "never".
    """
    expires_in = reply.refresh_expires_in
    token = reply.refresh_token
    if expires_in is None and (token is None or token.hash() == grant.live_hash):
        return grant.refresh_expires_at, grant.refresh_expires_at <= 0
    if expires_in is None or expires_in <= 0:
        return 0.0, True
    expires_at = sent_at + expires_in
    gained, passed = expires_at - grant.refresh_expires_at, sent_at - grant.issued_at
    # A fixed expiry gains at most the seconds of two requests, a renewed one all that passed.
    return expires_at, grant.refresh_expires_at <= 0 or gained > passed / 2


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
