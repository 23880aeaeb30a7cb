"""The states of all tokens, and the changes that arrive while a token is reconciled."""

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from csidriver.core import annotations
from csidriver.core.kubernetes.change import SecretChange
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import SourceRef
from csidriver.core.oauth.token_document import DocumentError, TokenDocument
from csidriver.core.refresh.grant import Grant
from csidriver.core.refresh.login_expiry import is_final
from csidriver.core.refresh.source import document_key
from csidriver.core.refresh.state import TokenState, Versions, login_grant
from csidriver.core.sensitive import Sensitive
from csidriver.core.status import Status

# The statuses whose tokens are refreshed; the others wait for a user.
_REFRESHED = frozenset({Status.PENDING, Status.READY, Status.UNCERTAIN, Status.ISSUER_UNAVAILABLE})

_NOTHING = Sensitive("")

# The versions of Secrets that were last seen, by token.
ObservedVersions = Mapping[SourceRef, Versions]


@dataclass(frozen=True, slots=True)
class CacheSummary:
    """Numbers of tokens by status; and by issuer, for the tokens that are refreshed, what expires.

    `earliest`: the first access token that expires. `login_ends`: the first refresh token that
    expires and that no refresh prolongs. Both are in epoch seconds.
    """

    statuses: Mapping[Status, int]
    earliest: Mapping[str, float]
    expired: Mapping[str, int]
    login_ends: Mapping[str, float]


class StateCache:
    """The state of each token, and which tokens are made from which login. Thread-safe.

    Changes that arrive after `checkout` are applied by `store`. `requeue` is called for each token
    whose login has changed its generation or status, or is gone.
    """

    def __init__(self, requeue: Callable[[SourceRef], None] = lambda _: None) -> None:
        self._requeue = requeue
        self._lock = threading.Lock()
        self._states: dict[SourceRef, TokenState] = {}
        self._pending_changes: dict[SourceRef, list[SecretChange]] = {}
        self._logins: dict[SourceRef, SourceRef] = {}
        self._derived: dict[SourceRef, set[SourceRef]] = {}

    def checkout(self, ref: SourceRef) -> TokenState:
        """Return the state of a token that is now reconciled."""
        with self._lock:
            self._pending_changes.setdefault(ref, [])
            return self._states.get(ref, TokenState(ref))

    def peek(self, ref: SourceRef) -> TokenState:
        with self._lock:
            return self._states.get(ref, TokenState(ref))

    def store(self, state: TokenState) -> bool:
        """Store a reconciled state; return True if a change arrived that requires another one."""
        state = compact(state)
        derived: list[SourceRef] = []
        with self._lock:
            before, updated = self._states.get(state.ref), state
            for change in self._pending_changes.pop(state.ref, []):
                updated = updated.with_change(change)
            empty = state.source is None and state.grant is None and state.next_reconcile is None
            if empty and not state.source_stale and updated is state:
                self._states.pop(state.ref, None)
                self._set_login(state.ref, None)
            else:
                self._states[state.ref] = updated
            if state.grant is not None and not state.grant.login:
                self._set_login(state.ref, None)
            if _login_version(before) != _login_version(state):
                derived = sorted(self._derived.get(state.ref, ()))
        for ref in derived:
            self._requeue(ref)
        return updated is not state and (updated.source_stale or updated.grant_stale)

    def find_login(self, ref: SourceRef, login: SourceRef) -> Grant | None:
        """Return the grant of a login, None without one; `ref` is made from it from now on."""
        with self._lock:
            self._set_login(ref, login)
            state = self._states.get(login)
            return None if state is None else login_grant(state)

    def _set_login(self, ref: SourceRef, login: SourceRef | None) -> None:
        before = self._logins.pop(ref, None)
        if before is not None:
            self._derived[before].discard(ref)
            if not self._derived[before]:
                del self._derived[before]
        if login is not None:
            self._logins[ref] = login
            self._derived.setdefault(login, set()).add(ref)

    def restore(self, state: TokenState) -> None:
        """Store a state that was read from lists."""
        with self._lock:
            self._states[state.ref] = compact(state)

    def apply_change(self, change: SecretChange) -> bool:
        """Apply a change of a Secret; return True if the token must be reconciled for it."""
        with self._lock:
            pending = self._pending_changes.get(change.ref)
            if pending is not None:
                pending.append(change)
                return False
            cached = self._states.get(change.ref)
            if cached is None and not change.resource_version:
                return False
            before = TokenState(change.ref) if cached is None else cached
            after = self._states[change.ref] = before.with_change(change)
            return cached is None or after.source_stale or after.grant_stale

    def versions(self) -> ObservedVersions:
        """Return the versions of the tokens that nobody reconciles now and that need no re-read."""
        with self._lock:
            idle = [s for ref, s in self._states.items() if ref not in self._pending_changes]
        return {s.ref: s.versions for s in idle if not (s.source_stale or s.grant_stale)}

    def refs(self) -> list[SourceRef]:
        with self._lock:
            return list(self._states)

    def summary(self, now: float) -> CacheSummary:
        """Return the summary at an instant in epoch seconds."""
        with self._lock:
            grants = [state.grant for state in self._states.values() if state.grant is not None]
        refreshed = [grant for grant in grants if grant.status in _REFRESHED]
        expired: Counter[str] = Counter()
        for grant in refreshed:
            if grant.expires_at:
                expired[grant.issuer] += grant.expires_at <= now
        return CacheSummary(
            statuses=Counter(_status(grant, now) for grant in grants),
            earliest=_earliest((g.issuer, g.expires_at) for g in refreshed if g.expires_at),
            expired=expired,
            login_ends=_earliest(
                (g.issuer, g.refresh_expires_at) for g in refreshed if is_final(g)
            ),
        )

    def __len__(self) -> int:
        with self._lock:
            return len(self._states)


def _login_version(state: TokenState | None) -> tuple[int, Status] | None:
    grant = None if state is None else login_grant(state)
    return None if grant is None else (grant.generation, grant.status)


def _status(grant: Grant, now: float) -> Status:
    """Return the status without the delay until a reconciliation changes it."""
    expired = grant.status is Status.READY and grant.expires_at <= now
    return Status.ISSUER_UNAVAILABLE if expired else grant.status


def _earliest(instants: Iterable[tuple[str, float]]) -> Mapping[str, float]:
    earliest: dict[str, float] = {}
    for issuer, at in instants:
        earliest[issuer] = min(at, earliest.get(issuer, at))
    return earliest


def compact(state: TokenState) -> TokenState:
    """Return the state without the data of its Secrets, which can be large, and many.

    A source with the live document, however spaced, and the grant's status then looks like one that
    a start found at the recorded version; any other is read again. Of a companion's data only the
    keys are used.
    """
    if state.grant_secret is not None and state.grant_secret.data:
        state = replace(state, grant_secret=replace(state.grant_secret, data={}))
    if state.companion is not None and any(state.companion.data.values()):
        data = dict.fromkeys(state.companion.data, _NOTHING)
        state = replace(state, companion=replace(state.companion, data=data))
    source = state.source
    if source is None or state.source_data_omitted or state.source_data_dropped:
        return state
    if _is_current(source, state.grant):
        return replace(state, source=replace(source, data={}), source_data_omitted=True)
    dropped = replace(source, data={}, annotations={})
    return replace(state, source=dropped, source_data_dropped=True)


def _is_current(source: Secret, grant: Grant | None) -> bool:
    return (
        grant is not None
        and bool(grant.key)
        and document_key(source) == grant.key
        and _holds(source.data.get(grant.key), grant.document)
        and source.annotations.get(annotations.STATUS) == grant.status.value
        and source.annotations.get(annotations.ISSUER, grant.issuer) == grant.issuer
    )


def _holds(text: Sensitive | None, document: TokenDocument) -> bool:
    if text is None or text == document.to_json():
        return text is not None
    with contextlib.suppress(DocumentError):
        return TokenDocument.parse(text)[0] == document
    return False
