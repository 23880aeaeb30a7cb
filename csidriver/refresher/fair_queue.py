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
        self.lines: dict[str, OrderedDict[K, None]] = {}
        self.in_progress: Counter[str] = Counter()

    def add(self, key: K, namespace: str, *, first: bool = False) -> int:
        """Add a key to its line, unless it is there; return how many come before it at most."""
        line = self.lines.setdefault(namespace, OrderedDict())
        line[key] = None
        if first:
            line.move_to_end(key, last=False)
        return (len(line) - 1) * len(self.lines)

    def pop(self) -> K:
        """Remove and return the next key."""
        namespace = min(self.lines, key=self.in_progress.__getitem__)
        line = self.lines.pop(namespace)
        key, _ = line.popitem(last=False)
        if line:
            self.lines[namespace] = line  # behind the others
        return key

    def finish(self, namespace: str) -> None:
        """Count a key in progress less."""
        self.in_progress[namespace] -= 1
        self.in_progress += Counter()  # drops zeros
