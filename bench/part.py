"""One part of the bench, run as a process: what it finds comes over a pipe, row by row.

So a part that fails or hangs loses nothing but its own further rows, and no part is measured with
what another one has left in its interpreter.
"""

import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from bench.rows import Row

# Seconds a part may take; on a quiet machine it takes a third of that.
LIMIT, QUICK_LIMIT = 420.0, 120.0
_GRACE = 10.0


@dataclass(slots=True)
class Outcome:
    """The rows of a part, and the reason of its failure."""

    rows: list[Row] = field(default_factory=list)
    failure: str = ""


def run(name: str, *, quick: bool, limit: float | None = None) -> Outcome:
    """Run a part in a process of its own, which shows its progress itself."""
    if limit is None:
        limit = QUICK_LIMIT if quick else LIMIT
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "bench", "--part", name, "--rows", str(writing)]
    outcome = Outcome()
    with subprocess.Popen(  # noqa: S603 - our own command
        [*command, *(["--quick"] if quick else [])], pass_fds=[writing]
    ) as process:
        os.close(writing)
        try:
            for line in _lines(reading, time.monotonic() + limit):
                outcome.rows.append(Row.parse(line))
            status = process.wait(_GRACE)
            outcome.failure = f"ended with status {status}" if status else ""
        except (TimeoutError, subprocess.TimeoutExpired):
            outcome.failure = f"took more than {limit:g} s"
            _end(process)
        except BaseException:
            _end(process)
            raise
        finally:
            os.close(reading)
    return outcome


def _lines(descriptor: int, deadline: float) -> Iterator[str]:
    """Lines until the last writer is gone. Raises TimeoutError at the deadline (monotonic)."""
    pending = b""
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while True:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise TimeoutError
            chunk = os.read(descriptor, 65536)
            if not chunk:
                return
            *whole, pending = (pending + chunk).split(b"\n")
            yield from (line.decode() for line in whole)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Stop the process, and with it all processes that it has started (see `room`)."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
