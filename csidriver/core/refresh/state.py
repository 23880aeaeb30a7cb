"""What one process knows of one token, and the rules it works by: input and output of a visit."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from csidriver.core import names
from csidriver.core.companion import generation_of
from csidriver.core.kubernetes.change import SecretChange, TokenObject
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import SourceRef
from csidriver.core.oauth.issuers import Issuers
from csidriver.core.refresh import grant_secret as refresh_grant_secret
from csidriver.core.refresh.effects import Effect, GetSecret, Monotonic
from csidriver.core.refresh.grant import Grant
from csidriver.core.refresh.schedule import RequestTimeouts
from csidriver.core.refresh.source import is_source
from csidriver.core.refresh.source_annotations import status_annotations
from csidriver.errors import InvalidSecret

R = TypeVar("R")
Effects = Generator[Effect[Any], Any, R]

Versions = Mapping[TokenObject, str]

# An adoption writes seven times; whatever a watch tells later than this is read once more.
MAX_OWN_VERSIONS = 16


@dataclass(frozen=True, slots=True)
class RefreshContext:
    """The surroundings of a visit. `holder` names this pod in intents.

    `namespaces` are those whose sources are served, all if there are none.
    """

    issuers: Issuers
    holder: str
    timeouts: RequestTimeouts = field(default_factory=RequestTimeouts)
    driver_namespace: str = names.DRIVER_NAMESPACE
    tokens_namespace: str = names.TOKENS_NAMESPACE
    namespaces: tuple[str, ...] = ()

    def serves(self, state: "TokenState") -> bool:
        """Whether a token is ours to refresh; an exchange that was begun is settled in any case."""
        enrolled = not self.namespaces or state.ref.namespace in self.namespaces
        return enrolled or (state.grant is not None and state.grant.intent is not None)


@dataclass(frozen=True, slots=True)
class TokenState:
    """One token as last read or written by this process.

    What is marked stale is read before anything is decided; of an `unread` source only the version
    is known. `read_at` (monotonic) is when the grant was read; `lost`: what is remembered of it is
    newer than what is stored; `damaged`: what is stored cannot be read, and is to be left alone.
    `written` are versions of ours that no change has told of yet. `mirrored` is the generation
    last written to the source; other instants are epoch seconds.
    `requeue_at` asks for a visit before the schedule does; `next_reconcile` is the result, None
    meaning: only on a change.
    """

    ref: SourceRef
    source: Secret | None = None
    source_data_omitted: bool = False
    grant_secret: Secret | None = None
    grant: Grant | None = None
    read_at: float = 0.0
    grant_missing_in_store: bool = False
    grant_unreadable: bool = False
    companion: Secret | None = None
    source_stale: bool = True
    grant_stale: bool = True
    own_versions: tuple[tuple[TokenObject, str], ...] = ()
    mirrored_generation: int = 0
    mirror_refused_at: float | None = None
    spooled: bool = False
    source_deleted_at: float | None = None
    requeue_at: float | None = None
    next_reconcile: float | None = None

    @classmethod
    def from_lists(
        cls,
        ref: SourceRef,
        grant_secret: Secret,
        companion: Secret | None,
        source: SecretChange | None,
        *,
        read_at: float,
    ) -> "TokenState":
        """What a start learns from lists alone, so that a token in order costs no read.

        `source` is how the watch found it, None if it did not. It counts as seen at the version
        the grant recorded, and when its newest write is ours; else the first visit reads it. So it
        does when nodes have seen a later generation: then the grant comes from a backup.
        `read_at` (monotonic) is not before the grant was listed.
        """
        state = cls(ref)
        try:
            grant = refresh_grant_secret.from_secret(grant_secret)
        except InvalidSecret:
            return state  # the first visit reads it again and says what is wrong
        state = replace(
            state,
            grant_secret=grant_secret,
            grant=grant,
            read_at=read_at,
            companion=companion,
            grant_stale=False,
            # If not, the next refresh mirrors: what stands there now may be somebody's choice.
            mirrored_generation=grant.generation,
        )
        if source is None or generation_of(companion) > grant.generation:
            return state
        return _with_source_version(state, grant, source)

    @property
    def versions(self) -> Versions:
        """What was last read or written of its Secrets, "" of what is not there."""
        held = zip(TokenObject, (self.source, self.grant_secret, self.companion), strict=True)
        return {what: "" if one is None else one.resource_version for what, one in held}

    def with_change(self, change: SecretChange) -> "TokenState":
        """What is to be read again because of a change; versions written here are not news."""
        what, version = change.token_object, change.resource_version
        if version == self.versions[what]:
            # A watch tells in order: nothing older of ours is still to come.
            return replace(
                self, own_versions=tuple(w for w in self.own_versions if w[0] is not what)
            )
        if (what, version) in self.own_versions:
            return self
        if what is not TokenObject.SOURCE:
            return replace(self, grant_stale=True)
        return replace(self, source_stale=True)

    def with_grant(self, secret: Secret, grant: Grant) -> "TokenState":
        """After the grant was written."""
        written = self._written(TokenObject.GRANT, secret)
        return replace(
            self,
            grant_secret=secret,
            grant=grant,
            grant_missing_in_store=False,
            own_versions=written,
        )

    def with_companion(self, secret: Secret) -> "TokenState":
        """After the companion was written."""
        return replace(
            self, companion=secret, own_versions=self._written(TokenObject.COMPANION, secret)
        )

    def with_source(self, secret: Secret) -> "TokenState":
        """After the source was written; the answer is all of it."""
        written = self._written(TokenObject.SOURCE, secret)
        return replace(self, source=secret, source_data_omitted=False, own_versions=written)

    def _written(self, what: TokenObject, secret: Secret) -> tuple[tuple[TokenObject, str], ...]:
        return (*self.own_versions, (what, secret.resource_version))[-MAX_OWN_VERSIONS:]


def _with_source_version(state: TokenState, grant: Grant, source: SecretChange) -> TokenState:
    """With the source by its version alone, if there is nothing to be learnt from reading."""
    version = source.resource_version
    if not grant.source_version or not grant.key:
        return state
    # Our write to the source follows the grant's: at the version recorded there it is owed.
    owed = version == grant.source_version
    if not owed and not source.written_by_driver:
        return state
    told = {} if owed else status_annotations(grant, None, mirror_refused=False)
    secret = Secret(
        state.ref.namespace,
        state.ref.name,
        uid=grant.source_uid,
        resource_version=version,
        annotations={key: value for key, value in told.items() if value is not None},
    )
    mirrored = state.mirrored_generation - int(owed)
    return replace(
        state,
        source=secret,
        source_data_omitted=True,
        source_stale=False,
        mirrored_generation=mirrored,
    )


def load_source(state: TokenState) -> Effects[TokenState]:
    """Read the source if it changed since the last visit. Raises StoreError."""
    # Only the source can tell whether a grant that is remembered but gone is still the newest.
    if state.source_stale or state.grant_missing_in_store:
        source = yield from GetSecret(state.ref.namespace, state.ref.name)
        wanted = source is not None and is_source(source)
        state = replace(
            state, source=source if wanted else None, source_data_omitted=False, source_stale=False
        )
    return state


def load_grant(state: TokenState, context: RefreshContext) -> Effects[TokenState]:
    """Read grant and companion if they changed since the last visit. Raises StoreError."""
    if not state.grant_stale:
        return state
    secret = yield from GetSecret(context.driver_namespace, state.ref.grant)
    companion = yield from GetSecret(context.tokens_namespace, state.ref.companion)
    read_at = yield from Monotonic()
    stored, damaged = None, False
    try:
        stored = None if secret is None else refresh_grant_secret.from_secret(secret)
    except InvalidSecret:
        damaged = True
    lost = not damaged and state.grant is not None and _is_older(stored, state.grant)
    return replace(
        state,
        grant_secret=secret,
        # Of a damaged one the memory is kept, should it be deleted to have it made again.
        grant=state.grant if lost or damaged else stored,
        grant_missing_in_store=lost,
        grant_unreadable=damaged,
        read_at=read_at,
        companion=companion,
        grant_stale=False,
    )


def _is_older(stored: Grant | None, remembered: Grant) -> bool:
    """Whether what is stored was deleted or put back to an earlier state; no write of ours does."""
    if stored is None or stored.generation < remembered.generation:
        return True
    return stored.generation == remembered.generation and stored.live_hash in remembered.spent
