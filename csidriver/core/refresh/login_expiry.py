"""When a refresh token itself ends: what a reply says of it, and when to warn (docs/protocol.md 6).

Most servers move that instant out with every refresh, which concerns nobody. A login ends for
good where they do not: only then is there something to tell.
"""

from csidriver.core.oauth.token_document import TokenDocument
from csidriver.core.refresh.grant import Grant

# Seconds before the end at which a user is told.
WARNING_TIMES = (7 * 86400.0, 86400.0, 3600.0)


def refresh_expiry(grant: Grant, reply: TokenDocument, sent_at: float) -> tuple[float, bool]:
    """When the refresh token ends (epoch seconds, 0 if never) and whether this refresh moved that.

    Call it with the grant as it was before. What a server says first is taken for renewable until
    the next refresh shows otherwise; Keycloak sends 0 for "never".
    """
    said = reply.number("refresh_expires_in")
    fresh = reply.refresh_token
    if said is None and (fresh is None or fresh.hash() == grant.live_hash):
        return grant.refresh_expires_at, grant.refresh_expires_at <= 0
    if said is None or said <= 0:
        return 0.0, True
    expiry = sent_at + said
    moved, passed = expiry - grant.refresh_expires_at, sent_at - grant.issued_at
    # Half: an instant that is fixed moves by the seconds of two exchanges, one that slides by all.
    return expiry, grant.refresh_expires_at <= 0 or moved > passed / 2


def is_final(grant: Grant) -> bool:
    """Whether no refresh will move the end of the refresh token out."""
    return grant.refresh_expires_at > 0 and not grant.refresh_renewed


def warnings_due(grant: Grant, now: float) -> int:
    """How many of the warnings are due."""
    return sum(grant.refresh_expires_at - s <= now for s in WARNING_TIMES) if is_final(grant) else 0


def next_warning(grant: Grant, now: float) -> float | None:
    """When the next warning is due (epoch seconds), None if there is none."""
    if not is_final(grant):
        return None
    return min(
        (at for s in WARNING_TIMES if (at := grant.refresh_expires_at - s) > now), default=None
    )
