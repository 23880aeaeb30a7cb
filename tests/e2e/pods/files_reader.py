"""Runs in a pod, with the project's image: reads token files in turn and checks each read.

Arguments: the issuer's key in hex, seconds to go on after SIGTERM, the paths. Prints totals, one
JSON object a line, every second; the last one is also the container's termination message. `late`
has the intervals, in epoch seconds, in which tokens were read that had expired; all files have
changed since `changed`.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from csidriver.demo.reader import Reader

_SUMS = ("reads", "torn", "expired", "inode_changes")
# Expired reads of one interval are not further apart: all files are read several times meanwhile.
_GAP = 2.0


def main() -> None:
    key, seconds_after_sigterm = bytes.fromhex(sys.argv[1]), float(sys.argv[2])
    end = asked = float("inf")

    def terminate(_number: int, _frame: FrameType | None) -> None:
        nonlocal end, asked
        end = min(end, time.monotonic() + seconds_after_sigterm)
        asked = min(asked, time.time())

    signal.signal(signal.SIGTERM, terminate)
    os.nice(10)
    readers = [Reader(path, key, "", "") for path in sys.argv[3:]]
    late: list[list[float]] = []
    next_report = 0.0
    while time.monotonic() < end:
        for reader in readers:
            expired = reader.tally.expired
            for chunk in (65536, 512):
                reader.read(chunk=chunk)
            if reader.tally.expired > expired:
                add(late, time.time())
            time.sleep(0.004)
        if time.monotonic() >= next_report:
            next_report = time.monotonic() + 1
            print(totals(readers, late, asked), flush=True)
    text = totals(readers, late, asked)
    print(text, flush=True)
    Path("/dev/termination-log").write_text(text, encoding="ascii")


def add(late: list[list[float]], now: float) -> None:
    """Prolong the last interval until now, or begin another."""
    if late and now - late[-1][1] < _GAP:
        late[-1][1] = now
    else:
        late.append([now, now])


def totals(readers: list[Reader], late: list[list[float]], asked: float) -> str:
    """Return the totals of all files; `asked` is when the pod was asked to end."""
    tallies = [reader.tally for reader in readers]
    found = {name: sum(getattr(tally, name) for tally in tallies) for name in _SUMS}
    times = [[at for _, at in tally.first_reads] for tally in tallies]
    return json.dumps(
        {
            **found,
            "late": late,
            "changed": min(max(each, default=0.0) for each in times),
            "changes_since_sigterm": min(sum(at > asked for at in each) for each in times),
        }
    )


main()
