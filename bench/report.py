"""The numbers of a run: targets, the table, results.json, and their place in the docs."""

import json
import os
import platform
import re
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from csidriver.demo.report import percentile

PAGE = Path(__file__).parents[1] / "docs/evidence/performance.md"
RESULTS = Path(__file__).with_name("results.json")
BEGIN, END = "<!-- table begin: made by `make bench` -->", "<!-- table end -->"

_HEAD = ("key", "measured", "rounds", "floor", "times the floor", "target", "verdict")
# Units by a word of a key.
_WORDS = {"ratio": "x", "percent": "%", "kib": "KiB", "mib": "MiB", "us": "us", "ms": "ms"}
_UNITS = _WORDS | {"second": "/s", "s": "s"}


@dataclass(frozen=True, slots=True)
class Row:
    """A number, which is the median of the `values` of rounds, maybe beside those of its floor.

    A target is like `<= 5`, or `<= 5 x` for the ratio to the floor, whose key is `ratio`.
    """

    key: str
    values: Sequence[float]
    target: str = ""
    floor: Sequence[float] = ()
    ratio: str = ""
    skipped: str = ""

    def numbers(self) -> dict[str, float]:
        """Return the number, its floor and the ratio by key."""
        found = {self.key: self.values, f"{self.key}_floor": self.floor}
        if self.floor:
            # Round by round: a machine that is slow for a while is slow for both.
            found[self.ratio or f"{self.key}_ratio"] = quotients_of(self.values, self.floor)
        medians = {key: statistics.median(values) for key, values in found.items() if values}
        return {key: float(f"{value:.5g}") for key, value in medians.items()}

    @property
    def verdict(self) -> str:
        if self.skipped or not self.target:
            return self.skipped
        relation, limit, *of_ratio = self.target.split()
        value = [*self.numbers().values()][-1 if of_ratio else 0]
        is_kept = value <= float(limit) if relation == "<=" else value >= float(limit)
        return "kept" if is_kept else "MISSED"

    def cells(self) -> tuple[str, ...]:
        unit = next((_UNITS[word] for word in self.key.split("_") if word in _UNITS), "")
        shown = [number(value) for value in self.numbers().values()]
        value, floor, ratio = [*(shown or ["-"]), "", ""][:3]
        ends = [number(end(self.values)) for end in (min, max) if len(self.values) > 1]
        measured, rounds = f"{value} {unit}".rstrip(), " .. ".join(ends)
        return f"`{self.key}`", measured, rounds, floor, ratio, self.target, self.verdict


def shares(rounds: Sequence[Sequence[float]], share: float = 0.5) -> list[float]:
    """Return a percentile of each round."""
    return [percentile(list(samples), share) for samples in rounds]


def quotients_of(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Divide round by round."""
    return [over / under for over, under in zip(above, below, strict=True)]


def number(value: float) -> str:
    """Three digits, or all of a large whole number, with separators."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"  # noqa: PLR2004


def heading(load: float, took: float, *, quick: bool) -> str:
    """Say where and when, in two sentences; `load` is that before the run."""
    model = next(re.finditer(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text("utf-8")))[1]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{len(os.sched_getaffinity(0))} cores ({model}), {memory:.1f} GiB, Linux "
        f"{platform.release()}, Python {platform.python_version()}; load average {load:.3g} before "
        f"the run and {os.getloadavg()[0]:.3g} after it. A {'quick' if quick else 'full'} run of "
        f"{time.strftime('%Y-%m-%d')}, in {took:.0f} s."
    )


def table(rows: Iterable[Row]) -> str:
    """Return a Markdown table, aligned for a terminal too."""
    lines = [_HEAD, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    lines.insert(1, tuple("-" * width for width in widths))
    return "\n".join(f"| {' | '.join(map(str.ljust, line, widths))} |" for line in lines)


def save(title: str, rows: Sequence[Row]) -> None:
    """Write numbers by key, and the rows from which the table is made."""
    numbers = {key: value for row in rows for key, value in row.numbers().items()}
    content = {"heading": title, "numbers": numbers, "rows": [asdict(row) for row in rows]}
    RESULTS.write_text(f"{json.dumps(content, indent=1)}\n", encoding="utf-8")


def write_page(page: Path = PAGE) -> None:
    """Replace the table of the docs by that of the last run."""
    run = json.loads(RESULTS.read_text(encoding="utf-8"))
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    shown = f"{run['heading']}\n\n{table(Row(**row) for row in run['rows'])}"
    page.write_text(f"{before}{BEGIN}\n{shown}\n{END}{after}", encoding="utf-8")
