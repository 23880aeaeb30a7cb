"""The results of the fault matrix as the table of docs/evidence/fault-matrix.md."""

from collections import defaultdict
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from tests.simulator.gateway import Fault

if TYPE_CHECKING:
    from tests.simulator.fault_matrix import Result

DOCUMENT = Path(__file__).parents[2] / "docs/evidence/fault-matrix.md"
SECONDS = (10.0, 60.0, 300.0)
POLICIES = ("strict", "window", "unlimited")
# In the order of the columns.
INTROSPECTION = (True, False)


def render(results: Iterable["Result"]) -> str:
    """Return the table."""
    worst: dict[tuple[Fault, float, str, bool], tuple[float, int]] = defaultdict(lambda: (0.0, 0))
    for result in results:
        cell = result.cell
        key = cell.fault, cell.seconds, cell.policy, cell.introspects
        waited, presentations = worst[key]
        worst[key] = max(waited, result.waited), max(presentations, result.presentations)
    columns = list(product(POLICIES, INTROSPECTION))
    names = [f"{p}, {'introspection' if asked else 'none'}" for p, asked in columns]
    lines = [_row("fault", "lasts", *names), _row(*["---"] * (2 + len(names)))]
    for fault, seconds in product(Fault, SECONDS):
        found = [worst[fault, seconds, policy, asked] for policy, asked in columns]
        cells = [f"{waited:.0f} s, {count}" for waited, count in found]
        lines.append(_row(fault.value, f"{seconds:.0f} s", *cells))
    return "\n".join(lines) + "\n"


def write(results: Iterable["Result"]) -> None:
    """Replace the table of the document."""
    text = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(text[: text.index("| fault")] + render(results), encoding="utf-8")


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
