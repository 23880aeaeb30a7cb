"""What a run measures beside its main story, and what is wrong with it."""

import contextlib
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field


@dataclass
class Report:
    """Rows of a table, and sentences about violations.

    `most_late` is the largest p99 of a lateness that is no violation, in seconds.
    """

    most_late: float = math.inf
    rows: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    def add(self, what: str, value: str) -> None:
        self.rows.append(f"{what:<38} {value}")

    def add_lateness(self, what: str, samples: Sequence[float]) -> None:
        self.add(what, f"{spread(samples)} ({len(samples)} samples)")
        late = bool(samples) and quantile(samples, 0.99) > self.most_late
        self.require(f"{what}: p99 is above {self.most_late} s", holds=not late)

    def require(self, otherwise: str, *, holds: bool) -> None:
        if not holds:
            self.violations.append(otherwise)

    def __str__(self) -> str:
        wrong = [f"WRONG: {violation}" for violation in self.violations]
        return "\n".join([*self.rows, *wrong, f"{len(self.violations)} wrong"])


def quantile(samples: Sequence[float], share: float) -> float:
    """Return the smallest sample that is not exceeded by this share of all; NaN without one."""
    if not samples:
        return math.nan
    return sorted(samples)[math.ceil(share * len(samples)) - 1]


def spread(samples: Sequence[float]) -> str:
    p50, p99 = (quantile(samples, share) for share in (0.5, 0.99))
    return f"p50 {p50:.2f} s, p99 {p99:.2f} s, most {quantile(samples, 1.0):.2f} s"


@contextlib.contextmanager
def meanwhile(work: Callable[[threading.Event], None], name: str) -> Iterator[None]:
    """Let a thread work until the block ends; it is told so by its Event."""
    stop = threading.Event()
    thread = threading.Thread(target=work, args=(stop,), name=name)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
