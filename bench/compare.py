"""`python -m bench.compare FOLDER`: this node plugin and that of another working tree, in turn.

The folder is a checkout of an earlier commit. Each side has its own API server for all rounds; a
number is the median over rounds, beside it the range.
"""

import argparse
import json
import os
import statistics
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.child import Child, child
from bench.machine import Machine
from bench.report import markdown, number
from csidriver.demo.report import percentile

ROUNDS = 9
_TOP = Path(__file__).parents[1]
_ROUND = Path(__file__).with_name("round.py")
# By name of the samples: what a round is, its unit, and the share of its samples.
_NUMBERS = {
    "publish of a known companion, p50": ("known", "ms", 0.5),
    "first volume of a companion, p50": ("first", "ms", 0.5),
    "new token in 110 files, p99": ("fanout", "ms", 0.99),
    "new token in 110 files, p50": ("fanout", "ms", 0.5),
    "RSS, 110 volumes, 20 Secrets": ("rss", "MiB", 0.5),
    "RSS per Secret more": ("slope", "KiB", 0.5),
}
Rounds = Sequence[dict[str, list[float]]]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description=__doc__)
    parser.add_argument("folder", type=Path, help="a checkout of an earlier commit")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    flags = parser.parse_args()
    machine = Machine.here()
    with ExitStack() as stack:
        sides = [_started(stack, folder) for folder in (flags.folder, _TOP)]
        found: list[list[dict[str, list[float]]]] = [[], []]
        for turn in range(flags.rounds):
            print(f"* round {turn + 1} of {flags.rounds}", file=sys.stderr, flush=True)
            for rounds, side in zip(found, sides, strict=True):
                rounds.append(json.loads(side.ask("")))
    print(f"\n{machine.description()}\n\n{_table(*found)}")
    return 0


def _started(stack: ExitStack, folder: Path) -> Child:
    """Start a side in a working tree."""
    environment = os.environ | {"PYTHONPATH": str(folder.resolve())}
    side = stack.enter_context(child(["-P", str(_ROUND)], environment, folder=folder))
    while side.line() != "ready\n":
        pass
    return side


def _table(before: Rounds, after: Rounds) -> str:
    lines = [("what", "before", "now", "now / before", "now - before")]
    for what, (name, unit, share) in _NUMBERS.items():
        old, new = ([percentile(each[name], share) for each in side] for side in (before, after))
        quotient = statistics.median(b / a for a, b in zip(old, new, strict=True))
        difference = statistics.median(new) - statistics.median(old)
        cells = (_cell(old, unit), _cell(new, unit), number(quotient), number(difference))
        lines.append((what, *cells))
    return markdown(lines)


def _cell(values: Sequence[float], unit: str) -> str:
    ends = f"{number(min(values))} .. {number(max(values))}"
    return f"{number(statistics.median(values))} {unit} ({ends})"


if __name__ == "__main__":
    sys.exit(main())
