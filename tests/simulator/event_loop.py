"""Virtual time: a heap of callbacks, and a trace of what they did."""

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

START = 1_800_000_000.0


@dataclass
class EventLoop:
    """The true time (epoch seconds), which no process reads: each has its own clock."""

    now: float = START
    trace: list[tuple[float, str, str]] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    _heap: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _order: "itertools.count[int]" = field(default_factory=itertools.count)

    def call_at(self, instant: float, callback: Callable[[], None]) -> None:
        """Schedule a callback; at the same instant the first one scheduled comes first."""
        heapq.heappush(self._heap, (max(instant, self.now), next(self._order), callback))

    def run_until(self, until: float, max_calls: int = 400_000) -> None:
        """Let time pass; more callbacks than `max_calls` are a hot loop."""
        for _ in range(max_calls):
            if not self._heap or self._heap[0][0] > until or self.violations:
                self.now = max(self.now, min(until, self._heap[0][0] if self._heap else until))
                return
            self.now, _, callback = heapq.heappop(self._heap)
            callback()
        self.report_violation("9: hot loop")

    def record(self, actor: str, text: str) -> None:
        self.trace.append((self.now, actor, text))

    def report_violation(self, text: str) -> None:
        """Report that an invariant does not hold; the text begins with its number."""
        self.violations.append(text)
        self.record("VIOLATION", text)
