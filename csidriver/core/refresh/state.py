"""The observed state of one token and the context of its reconciliation."""

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
from csidriver.core.refresh.effects import Effect
from csidriver.core.refresh.grant import Grant
from csidriver.core.refresh.schedule import RequestTimeouts
from csidriver.core.refresh.source_annotations import WrittenAnnotations, status_annotations
from csidriver.errors import InvalidSecret, StoreConflict

R = TypeVar("R")
Effects = Generator[Effect[Any], Any, R]

Versions = Mapping[TokenObject, str]


@dataclass(frozen=True, slots=True)
class RefreshContext:
    """The constants of all reconciliations. `holder` names this pod in intents.

    The refresher serves the sources of `namespaces`, or of all namespaces if it is empty, and of
    each namespace at most `tokens_per_namespace`, unless there are more grants already.
    """

    issuers: Issuers
    holder: str
    timeouts: RequestTimeouts = field(default_factory=RequestTimeouts)
    driver_namespace: str = names.DRIVER_NAMESPACE
    tokens_namespace: str = names.TOKENS_NAMESPACE
    namespaces: tuple[str, ...] = ()
    tokens_per_namespace: int = 1000

    def serves(self, state: "TokenState") -> bool:
        """Return True if the token's namespace is enrolled or it has an intent to recover."""
        enrolled = not self.namespaces or state.ref.namespace in self.namespaces
        return enrolled or (state.grant is not None and state.grant.intent is not None)


@dataclass(frozen=True, slots=True)
class TokenState:
    """One token as this process last read or wrote it; times are epoch seconds unless noted.

    `*_stale`: read it again before deciding; `grant_stale` covers the companion, too.
    `source_data_omitted`: the source's resourceVersion is known, its data was not read.
    `source_data_dropped`: its data and annotations are read again by the next reconciliation.
    `read_at` (monotonic): when the grant was read. `grant_missing_in_store`: the stored grant was
    deleted, or replaced by a copy that is older than `grant`. `grant_unreadable`: the stored grant
    is damaged and must not be overwritten.
    `grant_withheld`: the grant is of an earlier namespace; it counts as a list of hashes only.
    `own_versions`: what the last reconciliation wrote and no watch event has reported. An earlier
    own write that is reported later costs one read.
    `mirrored_generation`: the generation in the source. `spooled`: the spool holds a stored reply.
    `requeue_at`: reconcile before the schedule does. `status_due_at`: when Ready would become a
    lie. `annotate_at`: when to write annotations again that somebody keeps removing.
    `reported_status`: the status of the last Event. `next_reconcile`: the result of a
    reconciliation, None for only after a change.
    """

    ref: SourceRef
    source: Secret | None = None
    source_data_omitted: bool = False
    source_data_dropped: bool = False
    grant_secret: Secret | None = None
    grant: Grant | None = None
    read_at: float = 0.0
    grant_missing_in_store: bool = False
    grant_unreadable: bool = False
    grant_withheld: bool = False
    companion: Secret | None = None
    source_stale: bool = True
    grant_stale: bool = True
    own_versions: tuple[tuple[TokenObject, str], ...] = ()
    mirrored_generation: int = 0
    mirror_refused_at: float | None = None
    spooled: bool = False
    source_deleted_at: float | None = None
    requeue_at: float | None = None
    status_due_at: float | None = None
    written: WrittenAnnotations | None = None
    annotate_at: float | None = None
    reported_status: str = ""
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
        """Return the state at a start, so that an up-to-date token costs no read.

        `source` is the watch's first event of the source, None if there was none. The source needs
        no read at the version that the grant recorded, or if its newest write is the driver's.
        A companion of a later generation means a grant from a backup: then it is read.
        `read_at` (monotonic) is not before the time of the list.
        """
        state = cls(ref)
        try:
            grant = refresh_grant_secret.from_secret(grant_secret)
        except InvalidSecret:
            return state  # the first reconciliation reads it again and reports the problem
        state = replace(
            state,
            grant_secret=grant_secret,
            grant=grant,
            read_at=read_at,
            companion=companion,
            grant_stale=False,
            # A wrong guess waits for the next refresh: a user may have restored an old seed.
            mirrored_generation=grant.generation,
        )
        if source is None or generation_of(companion) > grant.generation:
            return state
        return _with_source_version(state, grant, source)

    @property
    def versions(self) -> Versions:
        """The resourceVersions last read or written, "" of an absent Secret."""
        secrets = zip(TokenObject, (self.source, self.grant_secret, self.companion), strict=True)
        return {key: "" if secret is None else secret.resource_version for key, secret in secrets}

    @property
    def mirror_outdated(self) -> bool:
        return self.grant is not None and self.mirrored_generation < self.grant.generation

    def with_change(self, change: SecretChange) -> "TokenState":
        """Mark what must be read again after a watch event, unless it reports an own write."""
        key, version = change.token_object, change.resource_version
        if version == self.versions[key]:
            # A watch keeps the order: it reports no older version after this one.
            other_versions = tuple(own for own in self.own_versions if own[0] is not key)
            return replace(self, own_versions=other_versions)
        if (key, version) in self.own_versions:
            return self
        if key is not TokenObject.SOURCE:
            return replace(self, grant_stale=True)
        return replace(self, source_stale=True)

    def stored(self) -> Secret:
        """Return the grant's Secret. Raises StoreConflict if it is not known."""
        if self.grant_secret is None:
            raise StoreConflict(f"the grant of Secret {self.ref} is gone")
        return self.grant_secret

    def with_grant(self, secret: Secret, grant: Grant) -> "TokenState":
        return replace(
            self,
            grant_secret=secret,
            grant=grant,
            grant_missing_in_store=False,
            own_versions=self._own_versions_with(TokenObject.GRANT, secret),
        )

    def with_companion(self, secret: Secret) -> "TokenState":
        versions = self._own_versions_with(TokenObject.COMPANION, secret)
        return replace(self, companion=secret, own_versions=versions)

    def with_source(self, secret: Secret) -> "TokenState":
        # The response of a write has all data.
        versions = self._own_versions_with(TokenObject.SOURCE, secret)
        return replace(self, own_versions=versions).with_read_source(secret)

    def with_read_source(self, secret: Secret | None) -> "TokenState":
        return replace(self, source=secret, source_data_omitted=False, source_data_dropped=False)

    def _own_versions_with(
        self, key: TokenObject, secret: Secret
    ) -> tuple[tuple[TokenObject, str], ...]:
        return (*self.own_versions, (key, secret.resource_version))


def login_grant(state: TokenState) -> Grant | None:
    """Return the grant from which other tokens may be made; None if its source is gone."""
    deleted = state.source is None and not state.source_stale
    withheld = state.grant_withheld or state.source_deleted_at is not None
    return None if deleted or withheld else state.grant


def _with_source_version(state: TokenState, grant: Grant, source: SecretChange) -> TokenState:
    """Add the source by its version alone, unless it may have changed.

    The grant's next patch stores this version.
    """
    version = source.resource_version
    if not grant.source_version or not grant.key or source.uid != grant.source_uid:
        return state
    # The grant is written before the mirror: at the version it recorded, the mirror is outdated.
    mirror_outdated = version == grant.source_version
    if not mirror_outdated and not source.written_by_driver:
        return state
    annotations = {} if mirror_outdated else status_annotations(grant, None, mirror_refused=False)
    secret = Secret(
        state.ref.namespace,
        state.ref.name,
        uid=grant.source_uid,
        resource_version=version,
        annotations={key: value for key, value in annotations.items() if value is not None},
    )
    return replace(
        state,
        source=secret,
        source_data_omitted=True,
        source_stale=False,
        grant=replace(grant, source_version=version),
        mirrored_generation=state.mirrored_generation - int(mirror_outdated),
    )
