"""One visit to one token, as a generator of effects: the refresh protocol's main line.

Threads drive it in production, virtual time drives it in the simulator. Level-triggered: a visit
may come at any time and for any reason, and does only what is missing.
"""

from dataclasses import replace

from csidriver.core.oauth.issuers import Issuer
from csidriver.core.refresh.adopt import bound_issuer, forget, take_custody
from csidriver.core.refresh.companion_update import publish
from csidriver.core.refresh.effects import Now
from csidriver.core.refresh.grant import presentable
from csidriver.core.refresh.messages import DAMAGED_MESSAGE, EMPTY_MESSAGE
from csidriver.core.refresh.source_annotations import Plight
from csidriver.core.refresh.state import Known, Rules, Steps, learn_custody, learn_source
from csidriver.core.refresh.token_request import refresh_if_due, settle_own
from csidriver.core.status import Status
from csidriver.errors import StoreConflict, StoreRefused


def visit(known: Known, rules: Rules) -> Steps[Known]:
    """Bring one token up to date with its source, its schedule and its companion.

    Returns what is known afterwards; `next_visit` says when to come again.

    Raises:
        StoreError, SpoolFailed: the surroundings failed; everything done so far is safe.
    """
    if not rules.serves(known):
        # Its grant stays: the operator may enrol the namespace again, and it holds the only copy.
        return replace(known, next_visit=None)
    try:
        known = yield from learn_custody(known, rules)
        try:
            known = yield from learn_source(known)
        except StoreRefused:
            # Who took the right away took no token back: what the spool holds is lost with the pod.
            known = yield from _settle(known, rules)
            if rules.serves(known):
                raise
            return replace(known, next_visit=None)
        if known.source is None:
            return (yield from forget(known))
        return (yield from _tend(replace(known, gone_since=None, recheck_at=None), rules))
    except StoreConflict:
        return (yield from _anew(known))


def _tend(known: Known, rules: Rules) -> Steps[Known]:
    """Custody, refresh, publication of a token whose source is there. Raises StoreConflict."""
    if known.damaged:
        return (yield from publish(known, rules, _harm(known, rules, DAMAGED_MESSAGE)))
    known, plight = yield from take_custody(known, rules)
    if known.grant is not None and presentable(known.grant) is None:
        plight = _harm(known, rules, EMPTY_MESSAGE)
    if known.grant is not None and not (plight and plight.blocks):
        issuer = bound_issuer(known.grant, rules)
        if isinstance(issuer, Issuer):
            known = yield from refresh_if_due(known, issuer, rules)
            if known.custody_stale:
                return (yield from _anew(known))
        else:
            plight = Plight(Status.MISCONFIGURED, issuer, blocks=True)
    return (yield from publish(known, rules, plight))


def _settle(known: Known, rules: Rules) -> Steps[Known]:
    """Store what an exchange of ours brought; the source has no part in that."""
    issuer = None if known.grant is None else bound_issuer(known.grant, rules)
    if not isinstance(issuer, Issuer) or known.damaged or known.lost:
        return known
    return (yield from settle_own(known, issuer, rules))


def _harm(known: Known, rules: Rules, message: str) -> Plight:
    """Why nothing is sent for a grant that came to harm; what is left of it is not touched."""
    grant = f"{rules.driver_namespace}/{known.ref.grant}"
    return Plight(Status.INVALID, message.format(grant=grant), blocks=True)


def _anew(known: Known) -> Steps[Known]:
    """Somebody else wrote first: read everything again, at once, and decide anew."""
    now = yield from Now()
    return replace(known, source_stale=True, custody_stale=True, next_visit=now)
