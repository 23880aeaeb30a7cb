"""The end of a run: one table, results.json with a number per key, and what docs are made from."""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from bench.catalogue import ENTRIES
from bench.machine import Machine
from bench.rows import Row

_HEAD = ("what", "key", "measured", "target", "spread", "verdict")


@dataclass(frozen=True, slots=True)
class Report:
    """All rows of a run, where it ran and what failed.

    `failed` says why, by part; `skipped` says why, by key. `took` is in seconds, `at` in epoch
    seconds.
    """

    rows: tuple[Row, ...]
    machine: Machine
    quick: bool
    at: float
    took: float = 0.0
    failed: Mapping[str, str] | None = None
    skipped: Mapping[str, str] | None = None

    def missing(self, parts: Iterable[str]) -> list[str]:
        """Keys that these parts should have measured."""
        found = {row.key for row in self.rows}
        wanted = [entry for entry in ENTRIES if entry.part in set(parts)]
        return [entry.key for entry in wanted if entry.key not in found]

    def missed(self) -> list[str]:
        """Keys of targets that were not met."""
        return [row.key for row in self.rows if _target_result(row, quick=self.quick) == "MISSED"]

    def joined(self, before: "Report | None") -> "Report":
        """With the rows of an earlier run of other parts on the same kind of run."""
        if before is None or before.quick != self.quick:
            return self
        found = {row.key for row in self.rows}
        return replace(self, rows=self.rows + tuple(r for r in before.rows if r.key not in found))

    def numbers(self) -> dict[str, float]:
        """Return the flat object of results.json."""
        told = {row.key: float(f"{row.value:.5g}") for row in self.rows}
        return told | {"quick": int(self.quick), **self.machine.numbers()}

    def table(self) -> str:
        """All rows in the catalogue's order as a Markdown table, aligned for a terminal too."""
        found = {row.key: row for row in self.rows}
        skipped = self.skipped or {}
        lines: list[Sequence[str]] = [_HEAD]
        for entry in ENTRIES:
            if (row := found.get(entry.key)) is not None:
                lines.append(_cells(row, quick=self.quick))
            elif why := skipped.get(entry.key):
                lines.append(
                    (entry.what, f"`{entry.key}`", "-", entry.target(), "", why.split(":")[0])
                )
        return markdown(lines)

    def heading(self) -> str:
        """Where and when, in two sentences."""
        day = time.strftime("%Y-%m-%d", time.gmtime(self.at))
        kind = "QUICK run, with smaller counts" if self.quick else "full run"
        return f"{self.machine.description()}. A {kind} of {day}, in {self.took:.0f} s."

    def dump(self) -> str:
        """As JSON, for `parse`."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a report. Raise ValueError, KeyError or TypeError."""
        fields: dict[str, Any] = json.loads(text)
        rows = tuple(Row.parse(json.dumps(row)) for row in fields.pop("rows"))
        return cls(rows=rows, machine=Machine(**fields.pop("machine")), **fields)


def load(path: Path) -> Report | None:
    """Return the report of a file, None without a readable one."""
    try:
        return Report.parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; the first line is its head."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    rule = ["-" * width for width in widths]
    return "\n".join(
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in (lines[0], rule, *lines[1:])
    )


def _cells(row: Row, *, quick: bool) -> tuple[str, ...]:
    entry = row.entry
    spread = "" if row.spread is None else " .. ".join(number(end) for end in row.spread)
    value = f"{number(row.value)} {entry.unit}".rstrip()
    verdict = _target_result(row, quick=quick)
    return entry.what, f"`{entry.key}`", value, entry.target(), spread, verdict


def _target_result(row: Row, *, quick: bool) -> str:
    if not row.entry.target():
        return ""
    if row.entry.keeps(row.value):
        return "kept"
    return "full run only" if quick and row.entry.full else "MISSED"


def number(value: float) -> str:
    """Three digits, or all of a large whole number, with separators."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"  # noqa: PLR2004


def flat(numbers: Mapping[str, float]) -> str:
    """Return the text of results.json."""
    return json.dumps(numbers, indent=2, sort_keys=True) + "\n"
