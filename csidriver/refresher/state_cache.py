"""What this process knows of all tokens, and what watches told of them meanwhile."""

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from csidriver.core import annotations
from csidriver.core.kubernetes.change import SecretChange
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import SourceRef
from csidriver.core.refresh.login_expiry import is_final
from csidriver.core.refresh.source import document_key
from csidriver.core.refresh.state import TokenState, Versions
from csidriver.core.sensitive import Sensitive
from csidriver.core.status import Status

# More changes than this during one visit are not told apart: everything is read again.
_MOST_TOLD = 64
# These are renewed by the schedule; the others wait for people.
_RENEWED = frozenset({Status.PENDING, Status.READY, Status.UNCERTAIN, Status.ISSUER_UNAVAILABLE})


# The versions that were last seen of tokens.
Seen = Mapping[SourceRef, Versions]


@dataclass(frozen=True, slots=True)
class CacheSummary:
    """Tokens counted by status; and by issuer, of those that are renewed, what expires first.

    `earliest` of access tokens, `login_ends` of refresh tokens that no refresh prolongs, both in
    epoch seconds.
    """

    statuses: Mapping[Status, int]
    earliest: Mapping[str, float]
    expired: Mapping[str, int]
    login_ends: Mapping[str, float]


class StateCache:
    """One Known for each token; safe to share between threads.

    A token that is being visited is `take`n: changes told meanwhile wait until it is kept.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[SourceRef, TokenState] = {}
        self._told: dict[SourceRef, list[SecretChange]] = {}

    def checkout(self, ref: SourceRef) -> TokenState:
        """What is known of a token, for a visit."""
        with self._lock:
            self._told.setdefault(ref, [])
            return self._known.get(ref, TokenState(ref))

    def peek(self, ref: SourceRef) -> TokenState:
        """What is known of a token, at a glance."""
        with self._lock:
            return self._known.get(ref, TokenState(ref))

    def store(self, known: TokenState) -> bool:
        """What a visit came to know; whether something has changed meanwhile."""
        known = compact(known)
        with self._lock:
            told = self._told.pop(known.ref, [])
            stale = _heeded(known, told)
            empty = known.source is None and known.grant is None and known.next_reconcile is None
            if empty and not known.source_stale and stale is known:
                self._known.pop(known.ref, None)
            else:
                self._known[known.ref] = stale
        return stale is not known and (stale.source_stale or stale.grant_stale)

    def restore(self, known: TokenState) -> None:
        """What a start learnt from lists."""
        with self._lock:
            self._known[known.ref] = compact(known)

    def apply_change(self, change: SecretChange) -> bool:
        """A change was seen; whether the token is to be visited because of it."""
        with self._lock:
            told = self._told.get(change.ref)
            if told is not None:
                told.append(change)
                return False
            known = self._known.get(change.ref)
            if known is None and not change.resource_version:
                return False
            before = TokenState(change.ref) if known is None else known
            after = self._known[change.ref] = before.with_change(change)
            return known is None or after.source_stale or after.grant_stale

    def versions(self) -> Seen:
        """What was last seen of each token that nobody visits and nothing is to be read of."""
        with self._lock:
            settled = [k for ref, k in self._known.items() if ref not in self._told]
        return {k.ref: k.versions for k in settled if not (k.source_stale or k.grant_stale)}

    def refs(self) -> list[SourceRef]:
        """All tokens."""
        with self._lock:
            return list(self._known)

    def summary(self, now: float) -> CacheSummary:
        """Tokens counted, at an instant in epoch seconds."""
        with self._lock:
            grants = [known.grant for known in self._known.values() if known.grant is not None]
        renewed = [grant for grant in grants if grant.status in _RENEWED]
        expired: Counter[str] = Counter()
        for grant in renewed:
            if grant.expires_at:
                expired[grant.issuer] += grant.expires_at <= now
        return CacheSummary(
            statuses=Counter(grant.status for grant in grants),
            earliest=_first((g.issuer, g.expires_at) for g in renewed if g.expires_at),
            expired=expired,
            login_ends=_first((g.issuer, g.refresh_expires_at) for g in renewed if is_final(g)),
        )

    def __len__(self) -> int:
        with self._lock:
            return len(self._known)


def _first(instants: Iterable[tuple[str, float]]) -> Mapping[str, float]:
    """The earliest instant of each issuer."""
    found: dict[str, float] = {}
    for issuer, at in instants:
        found[issuer] = min(at, found.get(issuer, at))
    return found


def _heeded(known: TokenState, told: list[SecretChange]) -> TokenState:
    if len(told) > _MOST_TOLD:
        return replace(known, source_stale=True, grant_stale=True)
    for change in told:
        known = known.with_change(change)
    return known


def compact(known: TokenState) -> TokenState:
    """The same, less what can be told from the grant: ten thousand of these lie in memory.

    A source that holds the live document and the grant's status is like one that a start found at
    the recorded version; of a companion's data only the keys count.
    """
    source, grant = known.source, known.grant
    if known.grant_secret is not None and known.grant_secret.data and grant is not None:
        known = replace(known, grant_secret=replace(known.grant_secret, data={}))
    if known.companion is not None:
        known = replace(known, companion=_emptied(known.companion))
    if source is None or grant is None or known.source_data_omitted or not grant.key:
        return known
    current = (
        document_key(source) == grant.key
        and source.data.get(grant.key) == grant.document.to_json()
        and source.annotations.get(annotations.STATUS) == grant.status.value
        and source.annotations.get(annotations.ISSUER, grant.issuer) == grant.issuer
    )
    if not current:
        return known
    return replace(known, source=replace(source, data={}), source_data_omitted=True)


def _emptied(companion: Secret) -> Secret:
    return replace(companion, data=dict.fromkeys(companion.data, _NOTHING))


_NOTHING = Sensitive("")
