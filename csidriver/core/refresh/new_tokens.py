"""The grant after a token request that brought tokens (docs/protocol.md 4.5)."""

from dataclasses import replace

from csidriver.core.backoff import stable_jitter
from csidriver.core.kubernetes.timestamp import MAX_INSTANT
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.jwt import unverified_claims
from csidriver.core.oauth.token_document import TokenDocument
from csidriver.core.oauth.token_response import Failure, access_token_fault
from csidriver.core.refresh import messages, schedule
from csidriver.core.refresh.grant import MAX_SPENT, Grant, is_scope_refused
from csidriver.core.refresh.outcomes import after_outcome
from csidriver.core.refresh.transitions import Outcome
from csidriver.core.status import Status, TokenWarning


def after_success(grant: Grant, reply: TokenDocument, sent_at: float, issuer: Issuer) -> Grant:
    """Return the grant with the tokens of a reply; a new refresh token is kept in any case.

    The lifetime counts from `sent_at`, so that it never ends later than the server says.
    """
    fault = access_token_fault(reply)
    access_token = None if fault else reply.access_token
    claims = unverified_claims(access_token)
    stated_lifetime = schedule.token_lifetime(reply.number("expires_in"), claims, sent_at)
    lifetime = issuer.default_lifetime if stated_lifetime is None else stated_lifetime
    after = _with_reply(grant, reply, sent_at, sent_at + lifetime if access_token else None)
    if fault is not None:
        return after_outcome(after, Outcome.NO_ACCESS_TOKEN, sent_at, issuer, Failure(fault))
    refresh_token_lifetime = max(0.0, after.refresh_expires_at - sent_at)
    return replace(
        after,
        issued_at=sent_at,
        expires_at=sent_at + lifetime,
        next_refresh=schedule.next_refresh_at(
            sent_at,
            lifetime,
            u=stable_jitter(grant.source_uid, after.generation),
            minimum=issuer.min_lead,
            refresh_token_lifetime=refresh_token_lifetime,
        ),
        status=Status.READY,
        message=messages.SCOPE_REFUSED_MESSAGE
        if is_scope_refused(grant, issuer)
        else messages.READY_MESSAGE,
        warning=TokenWarning.DEFAULT_LIFETIME.value if stated_lifetime is None else "",
        failures=0,
        failing_since=0.0,
        failure_reason=None,
        fingerprint="",
    )


def _with_reply(
    grant: Grant, reply: TokenDocument, sent_at: float, expires_at: float | None
) -> Grant:
    """Merge a reply. `expires_at` is None if its access token is not usable."""
    if expires_at is None:
        reply = reply.drop("access_token", "token_type", "expires_in")
    return replace(
        _with_refresh_token(grant, reply, sent_at),
        document=grant.document.merge(reply, expires_at),
        generation=grant.generation + 1,
        intent=None,
    )


def _with_refresh_token(grant: Grant, reply: TokenDocument, sent_at: float) -> Grant:
    """Move the replaced refresh token to `spent`.

    An issuer with a reuse window may return a spent token, which becomes the live one again.
    """
    expires_at, renewed = refresh_expiry(grant, reply, sent_at)
    after = replace(grant, refresh_expires_at=expires_at, refresh_renewed=renewed)
    token = reply.refresh_token
    if token is None or token.hash() == grant.live_hash:
        return after
    inherited = [h for h in grant.spent[: grant.inherited] if h != token.hash()]
    own = [h for h in (*grant.spent[grant.inherited :], grant.live_hash) if h != token.hash()]
    spent = (*inherited, *own)[-MAX_SPENT:]
    return replace(after, spent=spent, inherited=max(0, len(spent) - len(own)))


def refresh_expiry(grant: Grant, reply: TokenDocument, sent_at: float) -> tuple[float, bool]:
    """Return the expiry (epoch seconds, 0 for never), and True if this refresh renewed it.

    `grant` is the one before the refresh. The first expiry counts as renewable until the next
    refresh shows otherwise. Keycloak sends 0 for "never", others their largest number.
    """
    expires_in = reply.refresh_expires_in
    token = reply.refresh_token
    if expires_in is None and (token is None or token.hash() == grant.live_hash):
        return grant.refresh_expires_at, grant.refresh_expires_at <= 0
    if expires_in is None or expires_in <= 0 or sent_at + expires_in > MAX_INSTANT:
        return 0.0, True
    expires_at = sent_at + expires_in
    gained, passed = expires_at - grant.refresh_expires_at, sent_at - grant.issued_at
    # A fixed expiry gains at most the seconds of two requests, a renewed one all that passed.
    return expires_at, grant.refresh_expires_at <= 0 or gained > passed / 2
