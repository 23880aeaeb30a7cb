"""`python -m bench [PART ...]`: measure, print one table, keep the numbers in results.json."""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence

from bench import report
from bench.processes import TOP, Child, measure_part
from bench.report import Row
from csidriver.errors import DriverError

# Each is a module with `measure(quick=...)`, which yields rows.
PARTS = ("publish", "fanout", "reads", "footprint", "refresher", "scale", "webhook", "broker")
_LIMIT = 900.0  # seconds that a part may take
_IMPORTS = "from csidriver import cli, roles; from csidriver.node import plugin"
_IMPORTS += "; from csidriver.broker import broker; from csidriver.adapters import kubernetes"
_IMPORTS += "; from csidriver.refresher import refresher; from csidriver.webhook import webhook"


def main() -> int:
    """Measure; return 1 if a target was missed, 2 if a part failed."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help="smaller counts")
    parser.add_argument("--markdown", action="store_true", help="only put the last run into docs/")
    flags = parser.parse_args()
    if flags.markdown:
        report.write_page()
        return 0
    parts = flags.parts or (("refresher",) if os.environ.get("BEFORE") else PARTS)
    with tempfile.TemporaryDirectory() as bytecode:
        # The image brings its byte code; compiling takes time and memory.
        os.environ["PYTHONPYCACHEPREFIX"] = bytecode
        environment = os.environ | {"PYTHONDONTWRITEBYTECODE": ""}
        subprocess.run([sys.executable, "-c", _IMPORTS], check=True, cwd=TOP, env=environment)  # noqa: S603
        return _measure(parts, quick=flags.quick)


def _measure(parts: Sequence[str], *, quick: bool) -> int:
    began, load, rows, failed = time.monotonic(), os.getloadavg()[0], list[Row](), list[str]()
    for name in parts:
        try:
            for row in rows_of(name, quick=quick):
                rows.append(row)
                print(*row.cells(), sep="  ", flush=True)
        except (DriverError, TimeoutError) as error:
            failed.append(name)
            print(f"* part {name} failed: {error}", flush=True)
    title = report.heading(load, time.monotonic() - began, quick=quick)
    report.save(title, rows)
    missed = [row.key for row in rows if row.verdict == "MISSED"]
    print(f"\n{title}\n\n{report.table(rows)}\n")
    print(f"* missed: {', '.join(missed) or 'none'}; failed: {', '.join(failed) or 'none'}")
    return 2 if failed else int(bool(missed))


def rows_of(name: str, *, quick: bool) -> Iterator[Row]:
    """Yield the rows of a part. Raise DriverError or TimeoutError."""
    deadline = time.monotonic() + _LIMIT
    with Child(measure_part, name, quick) as part:
        while True:
            if not part.connection.poll(deadline - time.monotonic()):
                raise TimeoutError(f"it took more than {_LIMIT:g} s")
            if (row := part.receive()) is None:
                return
            yield row


if __name__ == "__main__":
    sys.exit(main())
