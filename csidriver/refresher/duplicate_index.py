"""An index of refresh tokens by hash: it finds one login in two Secrets (protocol 2.5)."""

import threading
from collections import Counter
from collections.abc import Iterable

from csidriver.core.names import SourceRef
from csidriver.core.refresh.effects import Duplicate
from csidriver.core.refresh.state import TokenState


class DuplicateIndex:
    """Tokens by the hashes of their grants. Thread-safe.

    It keeps 64-bit numbers instead of the hashes: a grant has up to 20 of them for a long time.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tokens: dict[SourceRef, tuple[float, tuple[int, ...]]] = {}
        # Nearly all hashes belong to one token; only the others need a set.
        self._owners: dict[int, SourceRef] = {}
        self._other_owners: dict[int, set[SourceRef]] = {}
        self._counts: Counter[str] = Counter()

    def track(self, state: TokenState) -> None:
        """Index the hashes that the grant of a token has now; one that waits has none yet."""
        if state.grant is None and state.requeue_at is None:
            self.remove(state.ref)
        elif state.grant is None:
            self.find_and_update(state.ref, 0.0, ())
        else:
            # Nothing is sent for a withheld grant, whose login another Secret may have now.
            hashes = () if state.grant_withheld else state.grant.token_hashes
            self.find_and_update(state.ref, state.grant.adopted_at, hashes)

    def find_and_update(
        self, ref: SourceRef, adopted_at: float, hashes: Iterable[str]
    ) -> tuple[Duplicate, ...]:
        """Replace the hashes of a token and return the other tokens that share one."""
        with self._lock:
            indexed = self._replace(ref, adopted_at, hashes)
            others = {self._owners[key] for key in indexed} - {ref}
            for key in indexed:
                others |= self._other_owners.get(key, set()) - {ref}
            return tuple(
                Duplicate(self._tokens[other][0], other) for other in sorted(others, key=str)
            )

    def reserve(self, ref: SourceRef, most: int) -> bool:
        """Add a token without hashes; return False if its namespace has `most` other ones."""
        with self._lock:
            if ref not in self._tokens and self._counts[ref.namespace] < most:
                self._replace(ref, 0.0, ())
            return ref in self._tokens

    def remove(self, ref: SourceRef) -> None:
        """Remove a token; it need not be there."""
        with self._lock:
            if ref in self._tokens:
                self._drop(ref, self._tokens.pop(ref)[1])
                self._counts[ref.namespace] -= 1

    def _replace(self, ref: SourceRef, adopted_at: float, hashes: Iterable[str]) -> tuple[int, ...]:
        self._counts[ref.namespace] += ref not in self._tokens
        _, before = self._tokens.get(ref, (0.0, ()))
        wanted = {hash(key) for key in hashes}
        kept = tuple(key for key in before if key in wanted)
        added = tuple(wanted.difference(kept))
        self._drop(ref, [key for key in before if key not in wanted])
        for key in added:
            if self._owners.setdefault(key, ref) != ref:
                self._other_owners.setdefault(key, set()).add(ref)
        self._tokens[ref] = adopted_at, kept + added
        return kept + added

    def _drop(self, ref: SourceRef, keys: Iterable[int]) -> None:
        for key in keys:
            others = self._other_owners.get(key, set())
            others.discard(ref)
            if self._owners[key] == ref:
                del self._owners[key]
                if others:
                    self._owners[key] = others.pop()
            if not others:
                self._other_owners.pop(key, None)
