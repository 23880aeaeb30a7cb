"""How soon a new token is in every file, counted from the refresher's request to the API server.

When a file was written is its mtime. Looking at that, unlike reading, neither opens the file nor
keeps the plugin from its lease. It is the kernel's own time of the write: exact where the kernel
has fine time stamps (Linux 6.13), else early by up to a tick, which is a row of its own.
"""

import os
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass

from bench.rows import Measure, Row
from bench.stand import SOURCES, Stand
from csidriver.errors import DriverError

WHOLE_P99 = Measure("node_rotation_ms_p99", "new token in all files, p99", "ms", 0.99, 150.0)
WHOLE_P50 = Measure("node_rotation_ms_p50", "... p50", "ms")
ANSWER_P99 = Measure(
    "node_rotation_after_answer_ms_p99", "... since the API server's answer, p99", "ms", 0.99
)
FIRST_P50 = Measure("node_rotation_first_file_ms_p50", "... until the first file, p50", "ms")
# Seconds: between two looks, for all files, and at most between two changes.
LOOK_EVERY, PATIENCE, LONGEST_PAUSE = 0.002, 10.0, 0.02
# CLOCK_REALTIME_COARSE of <linux/time.h>: what stamps files where there are no fine time stamps.
_COARSE = 5


@dataclass(frozen=True, slots=True)
class Change:
    """One new token. Milliseconds; `stamps` is how many different mtimes the files got."""

    first: float
    whole: float
    after_answer: float
    stamps: int


def measure(stand: Stand, *, volumes: int, quick: bool) -> Iterator[Row]:
    """Change the token of one companion with so many volumes, again and again."""
    stand.publish([(number, SOURCES[0]) for number in range(volumes)])
    _change(stand, volumes)
    rounds = [
        [_change(stand, volumes) for _ in range(25 if quick else 100)]
        for _ in range(3 if quick else 9)
    ]
    yield WHOLE_P99.row([[change.whole for change in changes] for changes in rounds])
    yield WHOLE_P50.row([[change.whole for change in changes] for changes in rounds])
    yield ANSWER_P99.row([[change.after_answer for change in changes] for changes in rounds])
    yield FIRST_P50.row([[change.first for change in changes] for changes in rounds])
    fine = min(change.stamps for changes in rounds for change in changes) > volumes / 2
    tick = 0.0 if fine else 1000 * time.clock_getres(_COARSE)
    yield Row("node_rotation_error_ms", "... may be too short by", "ms", tick)


def _change(stand: Stand, volumes: int) -> Change:
    files = [str(stand.file(number)) for number in range(volumes)]
    before = [_mtime(file) for file in files]
    time.sleep(random.uniform(0.0, LONGEST_PAUSE))  # noqa: S311 - no secret
    began = time.time_ns()
    token = stand.companions.change(SOURCES[0])
    answered = time.time_ns()
    written = _written(files, before)
    for number in range(volumes):
        if stand.file(number).read_text(encoding="ascii") != token:
            raise DriverError(f"volume {number} does not hold the new token")
    return Change(
        first=(min(written) - began) / 1e6,
        whole=(max(written) - began) / 1e6,
        after_answer=(max(written) - answered) / 1e6,
        stamps=len(set(written)),
    )


def _written(files: list[str], before: list[int]) -> list[int]:
    """When each file was written since; waits until all of them were, and rest.

    Reserving room touches a file too, just before it is written.
    """
    deadline = time.monotonic() + PATIENCE
    last: list[int] = []
    while True:
        now = [_mtime(file) for file in files]
        if now == last and all(new != old for new, old in zip(now, before, strict=True)):
            return now
        last = now
        if time.monotonic() > deadline:
            raise DriverError(f"not all files were written within {PATIENCE:g} s")
        time.sleep(LOOK_EVERY)


def _mtime(file: str) -> int:
    return os.stat(file).st_mtime_ns  # noqa: PTH116 - a hundred of these are one look
