"""A queue in which namespaces take turns, so that a full one does not delay the others."""

from collections import Counter, OrderedDict
from typing import Generic, TypeVar

K = TypeVar("K")


class FairQueue(Generic[K]):
    """A line of keys per namespace; only namespaces whose keys wait or are in progress are known.

    The next key is of the namespace with the fewest keys in progress; of several such ones, of the
    one that has waited longest. So each gets an equal share, and one alone gets everything.
    """

    def __init__(self) -> None:
        self._lines: dict[str, OrderedDict[K, None]] = {}
        self._in_progress: Counter[str] = Counter()

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def __bool__(self) -> bool:
        return bool(self._lines)

    @property
    def namespaces(self) -> frozenset[str]:
        return frozenset((*self._lines, *self._in_progress))

    def has(self, key: K, namespace: str) -> bool:
        return key in self._lines.get(namespace, ())

    def add(self, key: K, namespace: str) -> int:
        """Add a key to its line, unless it is there; return how many come before it at most."""
        line = self._lines.setdefault(namespace, OrderedDict())
        line[key] = None
        return (len(line) - 1) * len(self._lines)

    def discard(self, key: K, namespace: str) -> None:
        line = self._lines.get(namespace, OrderedDict())
        line.pop(key, None)
        if not line:
            self._lines.pop(namespace, None)

    def pop(self) -> K:
        """Remove and return the next key."""
        namespace = min(self._lines, key=self._in_progress.__getitem__)
        line = self._lines.pop(namespace)
        key, _ = line.popitem(last=False)
        if line:
            self._lines[namespace] = line  # behind the others
        return key

    def start(self, namespace: str) -> None:
        """Count a key in progress, until `finish`."""
        self._in_progress[namespace] += 1

    def finish(self, namespace: str) -> None:
        self._in_progress[namespace] -= 1
        if not self._in_progress[namespace]:
            del self._in_progress[namespace]
