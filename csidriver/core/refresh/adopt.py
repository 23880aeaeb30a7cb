"""How a source becomes a grant, and how a grant is given up (docs/protocol.md 2, 3)."""

from dataclasses import replace

from csidriver.core import companion
from csidriver.core.kubernetes.secret import SecretPatch
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.jwt import unverified_claims
from csidriver.core.refresh import grant_secret
from csidriver.core.refresh.commit import store_grant
from csidriver.core.refresh.companion_update import own_companion, store_companion_and_mirror
from csidriver.core.refresh.effects import (
    CreateSecret,
    DeleteSecret,
    FindDuplicates,
    Now,
    PatchSecret,
    SpoolClear,
)
from csidriver.core.refresh.grant import Grant, SourceToken, adopt, compare_source
from csidriver.core.refresh.schedule import min_interval
from csidriver.core.refresh.source import Source
from csidriver.core.refresh.source_annotations import StatusOverride
from csidriver.core.refresh.state import Effects, RefreshContext, TokenState
from csidriver.core.status import Status, TokenWarning
from csidriver.errors import InvalidSecret

# A deleted source may be on its way back: re-created by hand or by a GitOps tool. Seconds.
DELETE_GRACE = 600.0


def sync_from_source(
    known: TokenState, rules: RefreshContext
) -> Effects[tuple[TokenState, StatusOverride | None]]:
    """Adopt a new or reseeded source, recognise a restored old seed, say what ails the source.

    A source of which only the version is known holds what was seen before: nothing to do.
    """
    secret = known.source
    if secret is None or known.source_data_omitted:
        return known, None
    known = _drop_if_superseded(known)
    try:
        source = Source.parse(secret)
    except InvalidSecret as error:
        known = yield from _force_reread_after_restart((yield from _recreate_grant(known, rules)))
        return known, StatusOverride(Status.INVALID, "; ".join(error.problems))
    if known.grant is not None:
        verdict = compare_source(known.grant, source)
        if verdict is not SourceToken.NEW:
            before = known.grant
            known = yield from _recreate_grant(known, rules)
            return (yield from _store_source_edit(known, before, source, verdict))
    hint = source.document.access_token
    iss = "" if hint is None else unverified_claims(hint).iss
    issuer = rules.issuers.select_issuer(source.ref.namespace, source.issuer, iss)
    if isinstance(issuer, str):
        known = yield from _force_reread_after_restart((yield from _recreate_grant(known, rules)))
        return known, StatusOverride(Status.MISCONFIGURED, issuer, blocks=known.grant is None)
    return (yield from _adopt(known, source, issuer, rules)), None


def _drop_if_superseded(known: TokenState) -> TokenState:
    """A remembered grant is worth nothing once nodes have seen a later one (section 2.7)."""
    if (
        known.grant_missing_in_store
        and known.grant
        and companion.shown(known.companion) > known.grant.generation
    ):
        return replace(known, grant=None, grant_missing_in_store=False)
    return known


def _recreate_grant(known: TokenState, rules: RefreshContext) -> Effects[TokenState]:
    """Put back a grant that somebody deleted, or replaced by an older copy of it."""
    if not known.grant_missing_in_store or known.grant is None:
        return known
    if known.grant_secret is not None:
        return (yield from store_grant(known, known.grant))
    created = yield from CreateSecret(grant_secret.to_secret(known.grant, rules.driver_namespace))
    return known.with_grant(created, known.grant)


def _force_reread_after_restart(known: TokenState) -> Effects[TokenState]:
    """See to it that a restart reads this source: our own notes on it will hide the edit."""
    grant = known.grant
    if grant is None or not grant.source_version:
        return known
    return (yield from store_grant(known, replace(grant, source_version="")))


def _store_source_edit(
    known: TokenState, before: Grant, source: Source, verdict: SourceToken
) -> Effects[tuple[TokenState, StatusOverride | None]]:
    """Learn what a source says besides its token; that is stored along with the next refresh.

    Unless it is lost otherwise: our own notes on the source hide an edit from a restart.
    """
    now = yield from Now()
    version = "" if known.source is None else known.source.resource_version
    noted = _merge_source_edit(before, source, verdict, now)
    if source.issuer and source.issuer != noted.issuer:
        known = yield from _force_reread_after_restart(replace(known, grant=noted))
        return known, StatusOverride(Status.MISCONFIGURED, _foreign_issuer(noted), blocks=True)
    noted = replace(noted, source_version=version)
    if (noted.source_uid, noted.client, noted.key) != (
        before.source_uid,
        before.client,
        before.key,
    ):
        return (yield from store_grant(known, noted)), None
    return replace(known, grant=noted), None


def _merge_source_edit(grant: Grant, source: Source, verdict: SourceToken, now: float) -> Grant:
    """The grant with what the source says now."""
    warning = grant.warning if grant.warning != TokenWarning.OLD_SEED_RESTORED.value else ""
    if verdict is SourceToken.OLD:
        warning = TokenWarning.OLD_SEED_RESTORED.value
    if grant.status is Status.CLIENT_REJECTED and grant.client != source.client:
        # What was refused has been corrected; still no faster than the rule between two sends.
        soon = now + min_interval(grant.lifetime)
        grant = replace(grant, failures=0, next_refresh=min(soon, grant.next_refresh or soon))
    return replace(
        grant, source_uid=source.uid, client=source.client, key=source.key, warning=warning
    )


def _adopt(
    known: TokenState, source: Source, issuer: Issuer, rules: RefreshContext
) -> Effects[TokenState]:
    now = yield from Now()
    version = "" if known.source is None else known.source.resource_version
    grant = replace(adopt(source, issuer, now, known.grant), source_version=version)
    # Grants may have been lost while companions were not: a companion never goes back.
    grant = replace(grant, generation=max(grant.generation, companion.shown(known.companion) + 1))
    # Announced before anything takes time: a copy that is adopted meanwhile is the younger one, and
    # must hear of this one before it sends.
    yield from FindDuplicates(known.ref, grant.adopted_at, grant.token_hashes)
    if known.grant_secret is None:
        stored = yield from CreateSecret(grant_secret.to_secret(grant, rules.driver_namespace))
    else:
        patch = SecretPatch(data=dict(grant_secret.to_data(grant)))
        stored = yield from PatchSecret(known.grant_secret, patch)
        # A reply of an exchange for the token that was replaced is of no use any more.
        yield from SpoolClear(known.ref)
    known = replace(
        known.with_grant(stored, grant),
        mirrored_generation=grant.generation,
        mirror_refused_at=None,
    )
    # Nodes learn the reason for their wait before the first exchange, which may take a while.
    return (yield from store_companion_and_mirror(known, rules, None))


def _foreign_issuer(grant: Grant) -> str:
    return (
        f"the token belongs to issuer {grant.issuer!r}, the annotation names another one; "
        "restore the annotation, or log in there and put the new token into the Secret"
    )


def bound_issuer(grant: Grant, rules: RefreshContext) -> Issuer | str:
    """The issuer a grant is bound to, or why its refresh token must not be sent anywhere.

    A refresh token goes only to the issuer it was adopted with, so that nobody who may edit the
    Secret can have it sent to another one.
    """
    bound = rules.issuers.by_name.get(grant.issuer)
    if bound is None or bound.identity != grant.issuer_identity:
        return (
            f"issuer {grant.issuer!r} is not configured as it was when the token was adopted; "
            "restore its configuration, or log in again"
        )
    if bound.namespaces and grant.ref.namespace not in bound.namespaces:
        return f"issuer {grant.issuer!r} is no longer open to namespace {grant.ref.namespace!r}"
    return bound


def delete_after_grace(known: TokenState) -> Effects[TokenState]:
    """The source is gone: send nothing, and delete what is ours once it stays away."""
    if known.grant is None and known.grant_secret is None and known.companion is None:
        return replace(known, next_reconcile=None)
    now = yield from Now()
    since = now if known.source_deleted_at is None else known.source_deleted_at
    if now < since + DELETE_GRACE:
        # Look again before deleting: the event of its return may have been missed.
        return replace(
            known, source_deleted_at=since, source_stale=True, next_reconcile=since + DELETE_GRACE
        )
    for secret in (own_companion(known), known.grant_secret):
        if secret is not None:
            yield from DeleteSecret(secret)
    yield from SpoolClear(known.ref)
    return TokenState(known.ref, source_stale=False, grant_stale=False)
