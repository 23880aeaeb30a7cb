"""What one process knows of one token, and the rules it works by: input and output of a visit."""

from collections.abc import Generator
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from csidriver.core import contract, custody
from csidriver.core.contract import Ref
from csidriver.core.effects import Effect, GetSecret
from csidriver.core.grant import Grant
from csidriver.core.issuers import Issuers
from csidriver.core.schedule import Limits
from csidriver.core.secret import Secret
from csidriver.core.source import is_source

R = TypeVar("R")
Steps = Generator[Effect[Any], Any, R]


@dataclass(frozen=True, slots=True)
class Rules:
    """The surroundings of a visit. `holder` names this pod in intents."""

    issuers: Issuers
    holder: str
    limits: Limits = field(default_factory=Limits)
    driver_namespace: str = contract.DRIVER_NAMESPACE
    tokens_namespace: str = contract.TOKENS_NAMESPACE


@dataclass(frozen=True, slots=True)
class Known:
    """One token as last read or written by this process.

    What is marked stale is read before anything is decided; `mirrored` is the generation last
    written to the source; instants are epoch seconds. `recheck_at` asks for a visit before the
    schedule does; `next_visit` is the result, None meaning: only on a change.
    """

    ref: Ref
    source: Secret | None = None
    grant_secret: Secret | None = None
    grant: Grant | None = None
    companion: Secret | None = None
    source_stale: bool = True
    custody_stale: bool = True
    mirrored: int = 0
    mirror_refused_at: float | None = None
    spooled: bool = False
    gone_since: float | None = None
    recheck_at: float | None = None
    next_visit: float | None = None


def learn(known: Known, rules: Rules) -> Steps[Known]:
    """Read what changed since the last visit. Raises InvalidSecret for a damaged grant."""
    if known.source_stale:
        source = yield from GetSecret(known.ref.namespace, known.ref.name)
        wanted = source is not None and is_source(source)
        known = replace(known, source=source if wanted else None, source_stale=False)
    if known.custody_stale:
        grant_secret = yield from GetSecret(rules.driver_namespace, known.ref.grant)
        companion = yield from GetSecret(rules.tokens_namespace, known.ref.companion)
        known = replace(
            known,
            grant_secret=grant_secret,
            grant=None if grant_secret is None else custody.from_secret(grant_secret),
            companion=companion,
            custody_stale=False,
        )
    return known
