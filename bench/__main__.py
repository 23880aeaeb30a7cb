"""`python -m bench [PART ...]`: measure, show one table, keep the numbers in bench/results.json."""

import argparse
import os
import sys
import time
from pathlib import Path

from bench import node, room, rows, scale, webhook
from csidriver.demo.sandbox import SandboxRefused

# What can be measured, by name; each part yields its rows.
PARTS = {"node": node.measure, "scale": scale.measure, "webhook": webhook.measure}
RESULTS = Path(__file__).with_name("results.json")


def main() -> int:
    """The exit status: 1 if a target was missed or something failed."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument(
        "--quick",
        action="store_true",
        default=os.environ.get("QUICK") == "1",
        help="fewer rounds; also QUICK=1",
    )
    flags = parser.parse_args()
    if unknown := set(flags.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    try:
        return room.run(lambda: _measure(flags.parts or list(PARTS), quick=flags.quick))
    except SandboxRefused as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1


def _measure(parts: list[str], *, quick: bool) -> int:
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"* {time.monotonic() - began:4.0f} s  {text}", flush=True)

    found = [row for part in parts for row in PARTS[part](say, quick=quick)]
    print(rows.table(found))
    rows.keep(found, RESULTS)
    print(f"* numbers in {RESULTS.relative_to(Path.cwd())}")
    return 0 if all(row.kept for row in found) else 1


if __name__ == "__main__":
    sys.exit(main())
