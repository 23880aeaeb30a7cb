"""Comparison of the cache with full lists: at the start, after each new watch, and regularly."""

import contextlib
import logging
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from csidriver.clock import Clock
from csidriver.core.annotations import (
    COMPANION_SECRET_TYPE,
    GRANT_SECRET_TYPE,
    SOURCE_NAME,
    SOURCE_NAMESPACE,
)
from csidriver.core.kubernetes.change import FindOwnWrite, SecretChange, TokenObject
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import SourceRef
from csidriver.core.refresh.state import RefreshContext, TokenState
from csidriver.errors import StoreError
from csidriver.refresher.state_cache import ObservedVersions, compact

log = logging.getLogger(__name__)


class SecretLister(Protocol):
    """A store that lists grants and companions; raises StoreError."""

    def list_secrets(self, namespace: str, type: str) -> Iterable[Secret]:  # noqa: A002 - the field's name
        """Return all Secrets of one type in a namespace."""


class SecretListerWatcher(SecretLister, Protocol):
    """A store whose Secrets can also be watched; raises StoreError."""

    def watch_changes(
        self, stop: threading.Event, find_own: FindOwnWrite | None = None, /
    ) -> Generator[SecretChange | None, None, None]:
        """Yield all Secrets of all tokens, then None, then changes, until `stop` is set.

        Changes that `find_own` finds may be left out.
        """


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The Secrets that existed when a watch began."""

    secrets: dict[tuple[TokenObject, SourceRef], SecretChange]

    @classmethod
    def read(cls, changes: Iterator[SecretChange | None]) -> "Snapshot | None":
        """Read a watch up to its None; return None if it ends before that."""
        found: dict[tuple[TokenObject, SourceRef], SecretChange] = {}
        for change in changes:
            if change is None:
                return cls(found)
            found[change.token_object, change.ref] = change
        return None

    def diff(self, refs: Iterable[SourceRef]) -> Iterator[SecretChange]:
        """Yield the Secrets that exist, and those of `refs` that do not."""
        yield from self.secrets.values()
        for ref in refs:
            for token_object in TokenObject:
                if (token_object, ref) not in self.secrets:
                    yield SecretChange(ref, token_object, "")

    def changes_missed_by_watch(
        self, before: ObservedVersions, after: ObservedVersions
    ) -> Iterator[SecretChange]:
        """Yield the changes that the cache, as it was before and after the list, does not contain.

        A token that the watch has changed in between is left to the events that follow.
        """
        unmoved = {ref: versions for ref, versions in before.items() if after.get(ref) == versions}
        for change in self.diff(unmoved):
            ref, version = change.ref, change.resource_version
            expected = unmoved[ref][change.token_object] if ref in unmoved else version
            if version != expected or (ref not in before and ref not in after):
                yield change


def resync(
    secrets: SecretListerWatcher, versions: Callable[[], ObservedVersions], stop: threading.Event
) -> list[SecretChange]:
    """Return the changes that the watch has missed (docs/protocol.md section 2.4).

    If the Secrets cannot be listed, the next resync finds them.
    """
    before = versions()
    try:
        with contextlib.closing(secrets.watch_changes(stop)) as changes:
            snapshot = Snapshot.read(changes)
    except StoreError as error:
        log.warning("cannot look for changes that the watch has missed: %s", error)
        return []
    missed = [] if snapshot is None else list(snapshot.changes_missed_by_watch(before, versions()))
    if missed:
        log.warning("the watch has missed %d changes of Secrets", len(missed))
    return missed


def initial_states(
    snapshot: Snapshot, lister: SecretLister, context: RefreshContext, clock: Clock
) -> Iterator[TokenState]:
    """Yield the states of all tokens, from two paged lists and a snapshot alone."""
    companions = {
        ref: compact(TokenState(ref, companion=secret)).companion
        for secret in lister.list_secrets(context.tokens_namespace, COMPANION_SECRET_TYPE)
        if (ref := _source_of(secret)) is not None and secret.name == ref.companion
    }
    # A dict, not a set, to keep the order.
    without_grant = dict.fromkeys(ref for _, ref in snapshot.secrets)
    for secret in lister.list_secrets(context.driver_namespace, GRANT_SECRET_TYPE):
        ref = _source_of(secret)
        if ref is None or secret.name != ref.grant:
            continue
        without_grant.pop(ref, None)
        source = snapshot.secrets.get((TokenObject.SOURCE, ref))
        read_at = clock.monotonic()
        state = TokenState(ref)
        try:
            state = TokenState.from_lists(ref, secret, companions.get(ref), source, read_at=read_at)
        except Exception:
            # One grant that no rule expects must not stop the service of all the others.
            log.exception("the grant of Secret %s cannot be read", ref)
        yield state
    yield from (TokenState(ref) for ref in without_grant)


def _source_of(secret: Secret) -> SourceRef | None:
    namespace = secret.annotations.get(SOURCE_NAMESPACE)
    name = secret.annotations.get(SOURCE_NAME)
    return None if namespace is None or name is None else SourceRef(namespace, name)
