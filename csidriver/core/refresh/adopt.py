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
from csidriver.errors import InvalidSecret, NoIssuer

# A deleted source may be on its way back: re-created by hand or by a GitOps tool. Seconds.
DELETE_GRACE = 600.0


def sync_from_source(
    state: TokenState, context: RefreshContext
) -> Effects[tuple[TokenState, StatusOverride | None]]:
    """Adopt a new or reseeded source, recognise a restored old seed, say what ails the source.

    A source of which only the version is known holds what was seen before: nothing to do.
    """
    secret = state.source
    if secret is None or state.source_data_omitted:
        return state, None
    state = _drop_if_superseded(state)
    try:
        source = Source.parse(secret)
    except InvalidSecret as error:
        state = yield from _force_reread_after_restart((yield from _recreate_grant(state, context)))
        return state, StatusOverride(Status.INVALID, "; ".join(error.problems))
    if state.grant is not None:
        verdict = compare_source(state.grant, source)
        if verdict is not SourceToken.NEW:
            before = state.grant
            state = yield from _recreate_grant(state, context)
            return (yield from _store_source_edit(state, before, source, verdict))
    hint = source.document.access_token
    iss = "" if hint is None else unverified_claims(hint).iss
    try:
        issuer = context.issuers.select_issuer(source.ref.namespace, source.issuer, iss)
    except NoIssuer as error:
        state = yield from _force_reread_after_restart((yield from _recreate_grant(state, context)))
        return state, StatusOverride(Status.MISCONFIGURED, str(error), blocks=state.grant is None)
    return (yield from _adopt(state, source, issuer, context)), None


def _drop_if_superseded(state: TokenState) -> TokenState:
    """A remembered grant is worth nothing once nodes have seen a later one (section 2.7)."""
    if (
        state.grant_missing_in_store
        and state.grant
        and companion.generation_of(state.companion) > state.grant.generation
    ):
        return replace(state, grant=None, grant_missing_in_store=False)
    return state


def _recreate_grant(state: TokenState, context: RefreshContext) -> Effects[TokenState]:
    """Put back a grant that somebody deleted, or replaced by an older copy of it."""
    if not state.grant_missing_in_store or state.grant is None:
        return state
    if state.grant_secret is not None:
        return (yield from store_grant(state, state.grant))
    created = yield from CreateSecret(grant_secret.to_secret(state.grant, context.driver_namespace))
    return state.with_grant(created, state.grant)


def _force_reread_after_restart(state: TokenState) -> Effects[TokenState]:
    """See to it that a restart reads this source: our own notes on it will hide the edit."""
    grant = state.grant
    if grant is None or not grant.source_version:
        return state
    return (yield from store_grant(state, replace(grant, source_version="")))


def _store_source_edit(
    state: TokenState, before: Grant, source: Source, verdict: SourceToken
) -> Effects[tuple[TokenState, StatusOverride | None]]:
    """Learn what a source says besides its token; that is stored along with the next refresh.

    Unless it is lost otherwise: our own notes on the source hide an edit from a restart.
    """
    now = yield from Now()
    version = "" if state.source is None else state.source.resource_version
    noted = _merge_source_edit(before, source, verdict, now)
    if source.issuer and source.issuer != noted.issuer:
        state = yield from _force_reread_after_restart(replace(state, grant=noted))
        return state, StatusOverride(
            Status.MISCONFIGURED, _issuer_changed_message(noted), blocks=True
        )
    noted = replace(noted, source_version=version)
    if (noted.source_uid, noted.client, noted.key) != (
        before.source_uid,
        before.client,
        before.key,
    ):
        return (yield from store_grant(state, noted)), None
    return replace(state, grant=noted), None


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
    state: TokenState, source: Source, issuer: Issuer, context: RefreshContext
) -> Effects[TokenState]:
    now = yield from Now()
    version = "" if state.source is None else state.source.resource_version
    grant = replace(adopt(source, issuer, now, state.grant), source_version=version)
    # Grants may have been lost while companions were not: a companion never goes back.
    grant = replace(
        grant, generation=max(grant.generation, companion.generation_of(state.companion) + 1)
    )
    # Announced before anything takes time: a copy that is adopted meanwhile is the younger one, and
    # must hear of this one before it sends.
    yield from FindDuplicates(state.ref, grant.adopted_at, grant.token_hashes)
    if state.grant_secret is None:
        stored = yield from CreateSecret(grant_secret.to_secret(grant, context.driver_namespace))
    else:
        patch = SecretPatch(data=dict(grant_secret.to_data(grant)))
        stored = yield from PatchSecret(state.grant_secret, patch)
        # A reply of an exchange for the token that was replaced is of no use any more.
        yield from SpoolClear(state.ref)
    state = replace(
        state.with_grant(stored, grant),
        mirrored_generation=grant.generation,
        mirror_refused_at=None,
    )
    # Nodes learn the reason for their wait before the first exchange, which may take a while.
    return (yield from store_companion_and_mirror(state, context, None))


def _issuer_changed_message(grant: Grant) -> str:
    return (
        f"the token belongs to issuer {grant.issuer!r}, the annotation names another one; "
        "restore the annotation, or log in there and put the new token into the Secret"
    )


def bound_issuer(grant: Grant, context: RefreshContext) -> Issuer | str:
    """The issuer a grant is bound to, or why its refresh token must not be sent anywhere.

    A refresh token goes only to the issuer it was adopted with, so that nobody who may edit the
    Secret can have it sent to another one.
    """
    bound = context.issuers.by_name.get(grant.issuer)
    if bound is None or bound.identifier != grant.issuer_identity:
        return (
            f"issuer {grant.issuer!r} is not configured as it was when the token was adopted; "
            "restore its configuration, or log in again"
        )
    if bound.namespaces and grant.ref.namespace not in bound.namespaces:
        return f"issuer {grant.issuer!r} is no longer open to namespace {grant.ref.namespace!r}"
    return bound


def delete_after_grace(state: TokenState) -> Effects[TokenState]:
    """The source is gone: send nothing, and delete what is ours once it stays away."""
    if state.grant is None and state.grant_secret is None and state.companion is None:
        return replace(state, next_reconcile=None)
    now = yield from Now()
    since = now if state.source_deleted_at is None else state.source_deleted_at
    if now < since + DELETE_GRACE:
        # Look again before deleting: the event of its return may have been missed.
        return replace(
            state, source_deleted_at=since, source_stale=True, next_reconcile=since + DELETE_GRACE
        )
    for secret in (own_companion(state), state.grant_secret):
        if secret is not None:
            yield from DeleteSecret(secret)
    yield from SpoolClear(state.ref)
    return TokenState(state.ref, source_stale=False, grant_stale=False)
