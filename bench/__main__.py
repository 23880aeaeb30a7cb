"""`python -m bench [PART ...]`: measure, show one table, keep the numbers in bench/results.json."""

import argparse
import os
import sys
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from bench import documents, part, peer, report, room
from bench.catalogue import ENTRIES
from bench.machine import Machine
from bench.report import Report
from csidriver.demo import sandbox
from csidriver.demo.sandbox import SandboxUnavailable

# Each part is a module of this package with `measure(say, *, quick)`, which yields its rows.
PARTS = tuple(dict.fromkeys(entry.part for entry in ENTRIES))
RESULTS = Path(__file__).with_name("results.json")
LAST_RUN = Path(__file__).with_name("last-run.json")


def main() -> int:
    """Run parts of the benchmark; return 1 if a target was missed or a part failed."""
    flags = _flags()
    if flags.write_docs:
        return documents.write(report.load(LAST_RUN))
    if flags.part:
        return _one(flags.part, flags.rows, quick=flags.quick)
    try:
        return _all(flags.parts or list(PARTS), quick=flags.quick)
    except KeyboardInterrupt:
        return room.INTERRUPTED


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument(
        "--quick",
        action="store_true",
        default=os.environ.get("QUICK") == "1",
        help="smaller counts, same keys; also QUICK=1",
    )
    parser.add_argument(
        "--write-docs", action="store_true", help="bring the last run into the docs, measure none"
    )
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if unknown := set(flags.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    return flags


def _one(name: str, descriptor: int, *, quick: bool) -> int:
    """Measure one part in a room of its own; its rows go to a file descriptor."""
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"* {name:9} {time.monotonic() - began:4.0f} s  {text}", flush=True)

    def work() -> int:
        for row in import_module(f"bench.{name}").measure(say, quick=quick):
            os.write(descriptor, f"{row.line()}\n".encode())
        return 0

    # Not even a kill of the whole bench leaves a part behind.
    sandbox.die_with_parent()
    try:
        return room.run(work)
    except SandboxUnavailable as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1


def _all(parts: list[str], *, quick: bool) -> int:
    began, machine = time.monotonic(), Machine.here()
    found = Report((), machine, quick, time.time(), failed={}, skipped=peer.skipped())
    for name in parts:
        outcome = part.run(name, quick=quick)
        failed = {**(found.failed or {}), **({name: outcome.failure} if outcome.failure else {})}
        found = replace(found, rows=found.rows + tuple(outcome.rows), failed=failed)
    after = replace(machine, load_after=round(os.getloadavg()[0], 2))
    found = replace(found, machine=after, took=time.monotonic() - began)
    return _conclude(found.joined(report.load(LAST_RUN)), parts)


def _conclude(found: Report, parts: list[str]) -> int:
    """Show and keep what was found; the exit status."""
    LAST_RUN.write_text(found.dump(), encoding="utf-8")
    RESULTS.write_text(report.flat(found.numbers()), encoding="utf-8")
    print(f"\n{found.heading()}\n\n{found.table()}\n")
    skipped = found.skipped or {}
    missing = [key for key in found.missing(parts) if key not in skipped]
    for why in dict.fromkeys(skipped.values()):
        print(f"* {why}: {', '.join(key for key, told in skipped.items() if told == why)}")
    for name, failure in (found.failed or {}).items():
        print(f"* part {name} failed: {failure}")
    if missing:
        print(f"* not measured: {', '.join(missing)}")
    if missed := found.missed():
        print(f"* missed: {', '.join(missed)}")
    print(f"* numbers in {os.path.relpath(RESULTS)}; `--write-docs` brings them into the docs")
    return 1 if found.failed or missing or missed else 0


if __name__ == "__main__":
    sys.exit(main())
