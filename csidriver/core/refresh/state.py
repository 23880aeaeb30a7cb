"""What one process knows of one token, and the rules it works by: input and output of a visit."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from csidriver.core import names
from csidriver.core.companion import shown
from csidriver.core.kubernetes.change import Change, What
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import Ref
from csidriver.core.oauth.issuers import Issuers
from csidriver.core.refresh import grant_secret as refresh_grant_secret
from csidriver.core.refresh.effects import Effect, GetSecret, Monotonic
from csidriver.core.refresh.grant import Grant
from csidriver.core.refresh.schedule import Limits
from csidriver.core.refresh.source import is_source
from csidriver.core.refresh.source_annotations import annotations
from csidriver.errors import InvalidSecret

R = TypeVar("R")
Steps = Generator[Effect[Any], Any, R]

Versions = Mapping[What, str]

# An adoption writes seven times; whatever a watch tells later than this is read once more.
_REMEMBERED = 16


@dataclass(frozen=True, slots=True)
class Rules:
    """The surroundings of a visit. `holder` names this pod in intents.

    `namespaces` are those whose sources are served, all if there are none.
    """

    issuers: Issuers
    holder: str
    limits: Limits = field(default_factory=Limits)
    driver_namespace: str = names.DRIVER_NAMESPACE
    tokens_namespace: str = names.TOKENS_NAMESPACE
    namespaces: tuple[str, ...] = ()

    def serves(self, known: "Known") -> bool:
        """Whether a token is ours to refresh; an exchange that was begun is settled in any case."""
        enrolled = not self.namespaces or known.ref.namespace in self.namespaces
        return enrolled or (known.grant is not None and known.grant.intent is not None)


@dataclass(frozen=True, slots=True)
class Known:
    """One token as last read or written by this process.

    What is marked stale is read before anything is decided; of an `unread` source only the version
    is known. `read_at` (monotonic) is when the grant was read; `lost`: what is remembered of it is
    newer than what is stored; `damaged`: what is stored cannot be read, and is to be left alone.
    `written` are versions of ours that no change has told of yet. `mirrored` is the generation
    last written to the source; other instants are epoch seconds.
    `recheck_at` asks for a visit before the schedule does; `next_visit` is the result, None
    meaning: only on a change.
    """

    ref: Ref
    source: Secret | None = None
    unread: bool = False
    grant_secret: Secret | None = None
    grant: Grant | None = None
    read_at: float = 0.0
    lost: bool = False
    damaged: bool = False
    companion: Secret | None = None
    source_stale: bool = True
    custody_stale: bool = True
    written: tuple[tuple[What, str], ...] = ()
    mirrored: int = 0
    mirror_refused_at: float | None = None
    spooled: bool = False
    gone_since: float | None = None
    recheck_at: float | None = None
    next_visit: float | None = None

    @classmethod
    def restored(
        cls,
        ref: Ref,
        grant_secret: Secret,
        companion: Secret | None,
        source: Change | None,
        *,
        read_at: float,
    ) -> "Known":
        """What a start learns from lists alone, so that a token in order costs no read.

        `source` is how the watch found it, None if it did not. It counts as seen at the version
        the grant recorded, and when its newest write is ours; else the first visit reads it. So it
        does when nodes have seen a later generation: then the grant comes from a backup.
        `read_at` (monotonic) is not before the grant was listed.
        """
        known = cls(ref)
        try:
            grant = refresh_grant_secret.from_secret(grant_secret)
        except InvalidSecret:
            return known  # the first visit reads it again and says what is wrong
        known = replace(
            known,
            grant_secret=grant_secret,
            grant=grant,
            read_at=read_at,
            companion=companion,
            custody_stale=False,
            # If not, the next refresh mirrors: what stands there now may be somebody's choice.
            mirrored=grant.generation,
        )
        if source is None or shown(companion) > grant.generation:
            return known
        return _seen(known, grant, source)

    @property
    def versions(self) -> Versions:
        """What was last read or written of its Secrets, "" of what is not there."""
        held = zip(What, (self.source, self.grant_secret, self.companion), strict=True)
        return {what: "" if one is None else one.resource_version for what, one in held}

    def stale(self, change: Change) -> "Known":
        """What is to be read again because of a change; versions written here are not news."""
        what, version = change.what, change.resource_version
        if version == self.versions[what]:
            # A watch tells in order: nothing older of ours is still to come.
            return replace(self, written=tuple(w for w in self.written if w[0] is not what))
        if (what, version) in self.written:
            return self
        if what is not What.SOURCE:
            return replace(self, custody_stale=True)
        return replace(self, source_stale=True)

    def with_grant(self, secret: Secret, grant: Grant) -> "Known":
        """After the grant was written."""
        written = self._written(What.GRANT, secret)
        return replace(self, grant_secret=secret, grant=grant, lost=False, written=written)

    def with_companion(self, secret: Secret) -> "Known":
        """After the companion was written."""
        return replace(self, companion=secret, written=self._written(What.COMPANION, secret))

    def with_source(self, secret: Secret) -> "Known":
        """After the source was written; the answer is all of it."""
        written = self._written(What.SOURCE, secret)
        return replace(self, source=secret, unread=False, written=written)

    def _written(self, what: What, secret: Secret) -> tuple[tuple[What, str], ...]:
        return (*self.written, (what, secret.resource_version))[-_REMEMBERED:]


def _seen(known: Known, grant: Grant, source: Change) -> Known:
    """With the source by its version alone, if there is nothing to be learnt from reading."""
    version = source.resource_version
    if not grant.source_version or not grant.key:
        return known
    # Our write to the source follows the grant's: at the version recorded there it is owed.
    owed = version == grant.source_version
    if not owed and not source.by_us:
        return known
    told = {} if owed else annotations(grant, None, mirror_refused=False)
    secret = Secret(
        known.ref.namespace,
        known.ref.name,
        uid=grant.source_uid,
        resource_version=version,
        annotations={key: value for key, value in told.items() if value is not None},
    )
    mirrored = known.mirrored - int(owed)
    return replace(known, source=secret, unread=True, source_stale=False, mirrored=mirrored)


def learn_source(known: Known) -> Steps[Known]:
    """Read the source if it changed since the last visit. Raises StoreError."""
    # Only the source can tell whether a grant that is remembered but gone is still the newest.
    if known.source_stale or known.lost:
        source = yield from GetSecret(known.ref.namespace, known.ref.name)
        wanted = source is not None and is_source(source)
        known = replace(known, source=source if wanted else None, unread=False, source_stale=False)
    return known


def learn_custody(known: Known, rules: Rules) -> Steps[Known]:
    """Read grant and companion if they changed since the last visit. Raises StoreError."""
    if not known.custody_stale:
        return known
    secret = yield from GetSecret(rules.driver_namespace, known.ref.grant)
    companion = yield from GetSecret(rules.tokens_namespace, known.ref.companion)
    read_at = yield from Monotonic()
    stored, damaged = None, False
    try:
        stored = None if secret is None else refresh_grant_secret.from_secret(secret)
    except InvalidSecret:
        damaged = True
    lost = not damaged and known.grant is not None and _behind(stored, known.grant)
    return replace(
        known,
        grant_secret=secret,
        # Of a damaged one the memory is kept, should it be deleted to have it made again.
        grant=known.grant if lost or damaged else stored,
        lost=lost,
        damaged=damaged,
        read_at=read_at,
        companion=companion,
        custody_stale=False,
    )


def _behind(stored: Grant | None, remembered: Grant) -> bool:
    """Whether what is stored was deleted or put back to an earlier state; no write of ours does."""
    if stored is None or stored.generation < remembered.generation:
        return True
    return stored.generation == remembered.generation and stored.live in remembered.spent
