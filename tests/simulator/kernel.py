"""Virtual time: one heap of things to do, and the trace of what was done."""

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

START = 1_800_000_000.0


@dataclass
class Kernel:
    """The true time (epoch seconds), which no process reads: each has a clock of its own."""

    now: float = START
    trace: list[tuple[float, str, str]] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    _heap: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _order: "itertools.count[int]" = field(default_factory=itertools.count)

    def at(self, instant: float, act: Callable[[], None]) -> None:
        """Have something done, in the order of instants and then of asking."""
        heapq.heappush(self._heap, (max(instant, self.now), next(self._order), act))

    def run(self, until: float, most: int = 400_000) -> None:
        """Let time pass; so many acts in one run are a hot loop."""
        for _ in range(most):
            if not self._heap or self._heap[0][0] > until or self.violations:
                self.now = max(self.now, min(until, self._heap[0][0] if self._heap else until))
                return
            self.now, _, act = heapq.heappop(self._heap)
            act()
        self.violate("9: hot loop")

    def note(self, who: str, what: str) -> None:
        """One line of the trace."""
        self.trace.append((self.now, who, what))

    def violate(self, text: str) -> None:
        """An invariant does not hold; its number comes first."""
        self.violations.append(text)
        self.note("VIOLATION", text)
