"""A process that reads a token file as fast as it can and judges every read.

Every eighth open is of an idle file instead, so that both wait for the same scheduler. Run with one
JSON object on standard input; it prints one JSON object when it has read enough.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import cast

from bench.marked import is_whole

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW
_WHOLE, _CHUNK = 65536, 1024
# One of so many reads is in chunks, one of so many opens is of the idle file.
_CHUNKED, _IDLE = 4, 8
_NICENESS = 10
# Reads between two looks at the clock.
_BATCH = 512
# Opens are counted by whole microseconds, the last count being for all that took longer.
_LONGEST = 100_000


@dataclass(slots=True)
class Tally:
    """The totals of a reader. `tokens` counts changes; opens are counted by microseconds."""

    reads: int = 0
    bad: int = 0
    tokens: int = 0
    opens: list[int] = field(default_factory=lambda: [0] * (_LONGEST + 1))
    idle_opens: list[int] = field(default_factory=lambda: [0] * (_LONGEST + 1))

    def add(self, other: "Tally") -> None:
        """Take in what another reader has read."""
        self.reads += other.reads
        self.bad += other.bad
        self.tokens += other.tokens
        self.opens = list(map(sum, zip(self.opens, other.opens, strict=True)))
        self.idle_opens = list(map(sum, zip(self.idle_opens, other.idle_opens, strict=True)))


def share_of(counts: Sequence[int], share: float) -> int:
    """Return the microseconds that this share of the reads took at most."""
    wanted, seen = share * sum(counts), 0
    for microseconds, count in enumerate(counts):
        seen += count
        if seen >= wanted:
            return microseconds
    return len(counts) - 1


class Hammer:
    """A reader that was started; `result` waits for it."""

    def __init__(self, path: str, idle: str, *, reads: int, seconds: float) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.hammer"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._wanted = {"path": path, "idle": idle, "reads": reads, "seconds": seconds}
        self._output = ""
        # It tells more than a pipe holds.
        self._thread = threading.Thread(target=self._collect, name="hammer")
        self._thread.start()

    @property
    def running(self) -> bool:
        """Return True while it reads."""
        return self._thread.is_alive()

    def result(self) -> Tally:
        """Return the totals. Raise ValueError if the process ended without a report."""
        self._thread.join()
        return Tally(**json.loads(self._output))

    def _collect(self) -> None:
        self._output, _ = self._process.communicate(json.dumps(self._wanted) + "\n")


def _hammer(path: str, idle: str, reads: int, seconds: float) -> Tally:
    tally = Tally()
    last = b""
    deadline = time.monotonic() + seconds
    clock, longest = time.perf_counter_ns, _LONGEST
    while tally.reads < reads and time.monotonic() < deadline:
        for number in range(_BATCH):
            began = clock()
            descriptor = os.open(path, _FLAGS)
            took = (clock() - began) // 1000
            if number % _CHUNKED:
                content = os.read(descriptor, _WHOLE)
            else:
                content = b"".join(iter(partial(os.read, descriptor, _CHUNK), b""))
            os.close(descriptor)
            tally.opens[min(longest, took)] += 1
            if content != last:
                if is_whole(content):
                    tally.tokens += 1
                    last = content
                else:
                    tally.bad += 1
            if not number % _IDLE:
                began = clock()
                descriptor = os.open(idle, _FLAGS)
                took = (clock() - began) // 1000
                os.close(descriptor)
                tally.idle_opens[min(longest, took)] += 1
        tally.reads += _BATCH
    return tally


def main() -> None:
    """Read as much as was asked for."""
    wanted = json.loads(sys.stdin.readline())
    # Readers are to find every gap, not to keep the writer from writing.
    os.nice(_NICENESS)
    tally = _hammer(wanted["path"], wanted["idle"], cast("int", wanted["reads"]), wanted["seconds"])
    print(json.dumps(asdict(tally)), flush=True)


if __name__ == "__main__":
    main()
