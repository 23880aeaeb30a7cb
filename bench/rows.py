"""What a bench found: rows with limits, shown as one table and kept as one flat JSON object."""

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from csidriver.demo.verdict import percentile

_HEAD = ("what", "target", "measured", "spread", "verdict")


@dataclass(frozen=True, slots=True)
class Row:
    """One number. `key` names it in results.json, `spread` is its range over the rounds."""

    key: str
    what: str
    unit: str
    value: float
    limit: float | None = None
    spread: tuple[float, float] | None = None

    @property
    def kept(self) -> bool:
        """Whether it is within its limit; a number without one always is."""
        return self.limit is None or self.value <= self.limit

    def cells(self) -> tuple[str, ...]:
        """Its line in the table."""
        limit = "" if self.limit is None else f"<= {self.limit:g} {self.unit}"
        spread = "" if self.spread is None else " .. ".join(f"{end:.3g}" for end in self.spread)
        verdict = "" if self.limit is None else "kept" if self.kept else "MISSED"
        return self.what, limit, f"{self.value:.3g} {self.unit}", spread, verdict


@dataclass(frozen=True, slots=True)
class Measure:
    """What is measured in rounds of samples, and how a round becomes one number."""

    key: str
    what: str
    unit: str
    share: float = 0.5
    limit: float | None = None

    def row(self, rounds: Sequence[Sequence[float]]) -> Row:
        """The median over the rounds of each round's percentile, and their range."""
        values = [percentile(list(samples), self.share) for samples in rounds]
        middle = statistics.median(values)
        ends = (min(values), max(values)) if len(values) > 1 else None
        return Row(self.key, self.what, self.unit, middle, self.limit, ends)


def table(rows: Iterable[Row]) -> str:
    """All rows as a Markdown table, aligned for a terminal too."""
    lines = [_HEAD, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    rule = tuple("-" * width for width in widths)
    return "\n".join(
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in (lines[0], rule, *lines[1:])
    )


def keep(rows: Iterable[Row], path: Path) -> None:
    """Write the numbers by key; what other parts have measured before stays."""
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    known |= {row.key: round(row.value, 4) for row in rows}
    path.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n", encoding="utf-8")
