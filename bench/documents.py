"""Brings the last run into the docs, so that no number there is typed by hand."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from bench import plots, report
from bench.catalogue import ENTRIES
from bench.report import Report

_TOP = Path(__file__).parents[1]
_EVIDENCE, README = _TOP / "docs/evidence", _TOP / "bench/README.md"
PAGE, PLOTS = _EVIDENCE / "performance.md", _EVIDENCE / "plots"
_BEGIN, _END = "<!-- {} begin: made by `python -m bench --write-docs` -->", "<!-- {} end -->"

_PERCENTILE = re.compile(r", p[\d.]+$")


def write(found: Report | None) -> int:
    """Write keys, table and plots; the exit status, 1 where there was no run yet."""
    _replace(README, "keys", keys())
    if found is None:
        print("bench: no run to show; the keys of bench/README.md are written", file=sys.stderr)
        return 1
    _replace(PAGE, "table", f"{found.heading()}\n\n{found.table()}")
    PLOTS.mkdir(exist_ok=True)
    for name, draw in plots.PLOTS.items():
        (PLOTS / f"{name}.svg").write_text(draw(found.numbers()), encoding="utf-8")
    return 0


def keys() -> str:
    """Every key with what it means, as a Markdown table."""

    def lines() -> Iterator[tuple[str, str, str]]:
        yield ("key", "part", "what")
        whole = ""
        for entry in ENTRIES:
            if not entry.what.startswith("... "):
                whole = _PERCENTILE.sub("", entry.what)
            what = entry.what.replace("...", f"{whole}:", 1)
            unit = {"": "", "x": " (times)"}.get(entry.unit, f" ({entry.unit})")
            note = f"; {entry.note}" if entry.note else ""
            yield f"`{entry.key}`", entry.part, f"{what}{unit}{note}"

    return report.markdown(list(lines()))


def between(text: str, name: str) -> tuple[str, str, str]:
    """Return the text before a generated block, the block, and the text after it."""
    begin, end = _BEGIN.format(name), _END.format(name)
    start = text.index(begin) + len(begin)
    stop = text.index(end, start)
    return text[:start], text[start:stop].strip("\n"), text[stop:]


def _replace(page: Path, name: str, block: str) -> None:
    before, _, after = between(page.read_text(encoding="utf-8"), name)
    page.write_text(f"{before}\n{block}\n{after}", encoding="utf-8")
