"""How a source becomes a grant, and how a grant is given up (docs/protocol.md 2, 3)."""

from dataclasses import replace

from csidriver.core import contract, custody
from csidriver.core.effects import CreateSecret, DeleteSecret, Now, PatchSecret, SpoolClear
from csidriver.core.grant import Grant, Verdict, adopt, judge
from csidriver.core.issuers import Issuer
from csidriver.core.known import Known, Rules, Steps
from csidriver.core.publish import Plight, companion_generation, own_companion, publish
from csidriver.core.schedule import gap
from csidriver.core.secret import SecretPatch
from csidriver.core.source import Source
from csidriver.core.status import Status, Warn
from csidriver.core.token import claims
from csidriver.errors import InvalidSecret

# A deleted source may be on its way back: re-created by hand or by a GitOps tool. Seconds.
FORGET_AFTER = 600.0


def take_custody(known: Known, rules: Rules) -> Steps[tuple[Known, Plight | None]]:
    """Adopt a new or reseeded source, recognise a restored old seed, say what ails the source."""
    secret = known.source
    if secret is None:
        return known, None
    try:
        source = Source.parse(secret)
    except InvalidSecret as error:
        return known, Plight(Status.INVALID, "; ".join(error.problems))
    if known.grant is not None:
        verdict = judge(known.grant, source)
        if verdict is not Verdict.RESEED:
            now = yield from Now()
            noted = _noted(known.grant, source, verdict, now)
            return replace(
                known, grant=replace(noted, source_version=secret.resource_version)
            ), None
    hint = source.document.access_token
    iss = "" if hint is None else claims(hint).iss
    issuer = rules.issuers.resolve(source.ref.namespace, source.issuer, iss)
    if isinstance(issuer, str):
        return known, Plight(Status.MISCONFIGURED, issuer, blocks=known.grant is None)
    return (yield from _adopt(known, source, issuer, rules)), None


def _noted(grant: Grant, source: Source, verdict: Verdict, now: float) -> Grant:
    """The grant with what the source says now; it is stored along with the next refresh."""
    warning = grant.warning if grant.warning != Warn.OLD_SEED_RESTORED.value else ""
    if verdict is Verdict.OLD_SEED:
        warning = Warn.OLD_SEED_RESTORED.value
    if grant.status is Status.CLIENT_REJECTED and grant.client != source.client:
        # What was refused has been corrected; still no faster than the rule between two sends.
        soon = now + gap(grant.life)
        grant = replace(grant, failures=0, next_refresh=min(soon, grant.next_refresh or soon))
    return replace(grant, source_uid=source.uid, client=source.client, warning=warning)


def _adopt(known: Known, source: Source, issuer: Issuer, rules: Rules) -> Steps[Known]:
    now = yield from Now()
    version = "" if known.source is None else known.source.resource_version
    grant = replace(adopt(source, issuer, now, known.grant), source_version=version)
    # Grants may have been lost while companions were not: a companion never goes back.
    grant = replace(grant, generation=max(grant.generation, companion_generation(known) + 1))
    if known.grant_secret is None:
        stored = yield from CreateSecret(custody.to_secret(grant, rules.driver_namespace))
    else:
        patch = SecretPatch(data=dict(custody.to_data(grant)))
        stored = yield from PatchSecret(known.grant_secret, patch)
        # A reply of an exchange for the token that was replaced is of no use any more.
        yield from SpoolClear(known.ref)
    known = replace(
        known,
        grant=grant,
        grant_secret=stored,
        mirrored=grant.generation,
        mirror_refused_at=None,
    )
    # Nodes learn the reason for their wait before the first exchange, which may take a while.
    return (yield from publish(known, rules, None))


def bound_issuer(known: Known, grant: Grant, rules: Rules) -> Issuer | str:
    """The issuer a grant is bound to, or why its refresh token must not be sent anywhere.

    A refresh token goes only to the issuer it was adopted with, so that nobody who may edit the
    Secret can have it sent to another one.
    """
    annotations = {} if known.source is None else known.source.annotations
    wanted = annotations.get(contract.ISSUER, "")
    if wanted and wanted != grant.issuer:
        return (
            f"the token belongs to issuer {grant.issuer!r}, the annotation names another one; "
            "restore the annotation, or log in there and put the new token into the Secret"
        )
    bound = rules.issuers.by_name.get(grant.issuer)
    if bound is None or bound.identity != grant.issuer_identity:
        return (
            f"issuer {grant.issuer!r} is not configured as it was when the token was adopted; "
            "restore its configuration, or log in again"
        )
    if bound.namespaces and known.ref.namespace not in bound.namespaces:
        return f"issuer {grant.issuer!r} is no longer open to namespace {known.ref.namespace!r}"
    return bound


def forget(known: Known) -> Steps[Known]:
    """The source is gone: send nothing, and delete what is ours once it stays away."""
    if known.grant_secret is None and known.companion is None:
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
