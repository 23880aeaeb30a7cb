"""How a source becomes a grant, and how a grant is given up (docs/protocol.md 2, 3)."""

from dataclasses import replace

from csidriver.core import companion
from csidriver.core.kubernetes.secret import SecretPatch
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.jwt import claims
from csidriver.core.refresh import grant_secret
from csidriver.core.refresh.commit import keep
from csidriver.core.refresh.companion_update import own_companion, publish
from csidriver.core.refresh.effects import (
    CreateSecret,
    DeleteSecret,
    Namesakes,
    Now,
    PatchSecret,
    SpoolClear,
)
from csidriver.core.refresh.grant import Grant, Verdict, adopt, judge
from csidriver.core.refresh.schedule import gap
from csidriver.core.refresh.source import Source
from csidriver.core.refresh.source_annotations import Plight
from csidriver.core.refresh.state import Known, Rules, Steps
from csidriver.core.status import Status, Warn
from csidriver.errors import InvalidSecret

# A deleted source may be on its way back: re-created by hand or by a GitOps tool. Seconds.
FORGET_AFTER = 600.0


def take_custody(known: Known, rules: Rules) -> Steps[tuple[Known, Plight | None]]:
    """Adopt a new or reseeded source, recognise a restored old seed, say what ails the source.

    A source of which only the version is known holds what was seen before: nothing to do.
    """
    secret = known.source
    if secret is None or known.unread:
        return known, None
    known = _outdone(known)
    try:
        source = Source.parse(secret)
    except InvalidSecret as error:
        known = yield from _unsettle((yield from _restore(known, rules)))
        return known, Plight(Status.INVALID, "; ".join(error.problems))
    if known.grant is not None:
        verdict = judge(known.grant, source)
        if verdict is not Verdict.RESEED:
            before = known.grant
            known = yield from _restore(known, rules)
            return (yield from _take_note(known, before, source, verdict))
    hint = source.document.access_token
    iss = "" if hint is None else claims(hint).iss
    issuer = rules.issuers.resolve(source.ref.namespace, source.issuer, iss)
    if isinstance(issuer, str):
        known = yield from _unsettle((yield from _restore(known, rules)))
        return known, Plight(Status.MISCONFIGURED, issuer, blocks=known.grant is None)
    return (yield from _adopt(known, source, issuer, rules)), None


def _outdone(known: Known) -> Known:
    """A remembered grant is worth nothing once nodes have seen a later one (section 2.7)."""
    if known.lost and known.grant and companion.shown(known.companion) > known.grant.generation:
        return replace(known, grant=None, lost=False)
    return known


def _restore(known: Known, rules: Rules) -> Steps[Known]:
    """Put back a grant that somebody deleted, or replaced by an older copy of it."""
    if not known.lost or known.grant is None:
        return known
    if known.grant_secret is not None:
        return (yield from keep(known, known.grant))
    created = yield from CreateSecret(grant_secret.to_secret(known.grant, rules.driver_namespace))
    return known.with_grant(created, known.grant)


def _unsettle(known: Known) -> Steps[Known]:
    """See to it that a restart reads this source: our own notes on it will hide the edit."""
    grant = known.grant
    if grant is None or not grant.source_version:
        return known
    return (yield from keep(known, replace(grant, source_version="")))


def _take_note(
    known: Known, before: Grant, source: Source, verdict: Verdict
) -> Steps[tuple[Known, Plight | None]]:
    """Learn what a source says besides its token; that is stored along with the next refresh.

    Unless it is lost otherwise: our own notes on the source hide an edit from a restart.
    """
    now = yield from Now()
    version = "" if known.source is None else known.source.resource_version
    noted = _noted(before, source, verdict, now)
    if source.issuer and source.issuer != noted.issuer:
        known = yield from _unsettle(replace(known, grant=noted))
        return known, Plight(Status.MISCONFIGURED, _foreign_issuer(noted), blocks=True)
    noted = replace(noted, source_version=version)
    if (noted.source_uid, noted.client, noted.key) != (
        before.source_uid,
        before.client,
        before.key,
    ):
        return (yield from keep(known, noted)), None
    return replace(known, grant=noted), None


def _noted(grant: Grant, source: Source, verdict: Verdict, now: float) -> Grant:
    """The grant with what the source says now."""
    warning = grant.warning if grant.warning != Warn.OLD_SEED_RESTORED.value else ""
    if verdict is Verdict.OLD_SEED:
        warning = Warn.OLD_SEED_RESTORED.value
    if grant.status is Status.CLIENT_REJECTED and grant.client != source.client:
        # What was refused has been corrected; still no faster than the rule between two sends.
        soon = now + gap(grant.life)
        grant = replace(grant, failures=0, next_refresh=min(soon, grant.next_refresh or soon))
    return replace(
        grant, source_uid=source.uid, client=source.client, key=source.key, warning=warning
    )


def _adopt(known: Known, source: Source, issuer: Issuer, rules: Rules) -> Steps[Known]:
    now = yield from Now()
    version = "" if known.source is None else known.source.resource_version
    grant = replace(adopt(source, issuer, now, known.grant), source_version=version)
    # Grants may have been lost while companions were not: a companion never goes back.
    grant = replace(grant, generation=max(grant.generation, companion.shown(known.companion) + 1))
    # Announced before anything takes time: a copy that is adopted meanwhile is the younger one, and
    # must hear of this one before it sends.
    yield from Namesakes(known.ref, grant.adopted_at, grant.names)
    if known.grant_secret is None:
        stored = yield from CreateSecret(grant_secret.to_secret(grant, rules.driver_namespace))
    else:
        patch = SecretPatch(data=dict(grant_secret.to_data(grant)))
        stored = yield from PatchSecret(known.grant_secret, patch)
        # A reply of an exchange for the token that was replaced is of no use any more.
        yield from SpoolClear(known.ref)
    known = replace(
        known.with_grant(stored, grant), mirrored=grant.generation, mirror_refused_at=None
    )
    # Nodes learn the reason for their wait before the first exchange, which may take a while.
    return (yield from publish(known, rules, None))


def _foreign_issuer(grant: Grant) -> str:
    return (
        f"the token belongs to issuer {grant.issuer!r}, the annotation names another one; "
        "restore the annotation, or log in there and put the new token into the Secret"
    )


def bound_issuer(grant: Grant, rules: Rules) -> Issuer | str:
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


def forget(known: Known) -> Steps[Known]:
    """The source is gone: send nothing, and delete what is ours once it stays away."""
    if known.grant is None and known.grant_secret is None and known.companion is None:
        return replace(known, next_visit=None)
    now = yield from Now()
    since = now if known.gone_since is None else known.gone_since
    if now < since + FORGET_AFTER:
        # Look again before deleting: the event of its return may have been missed.
        return replace(known, gone_since=since, source_stale=True, next_visit=since + FORGET_AFTER)
    for secret in (own_companion(known), known.grant_secret):
        if secret is not None:
            yield from DeleteSecret(secret)
    yield from SpoolClear(known.ref)
    return Known(known.ref, source_stale=False, custody_stale=False)
