"""Torn reads of token files, the waiting times of readers, and the duration of leases.

Readers hammer a file that the plugin rewrites, while kubelet's calls keep the plugin busy; then
files that naive writers rewrite at the same pace. Holds are measured in runs of their own.
"""

import contextlib
import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench import grpc_load, lease_probe, marked, naive
from bench.hammer import Hammer, Tally, share_of
from bench.process import PROGRAM
from bench.room import MEMORY
from bench.rows import Row, middle, over_rounds
from bench.stand import SOURCES, Stand

READERS = 2
# Volumes of one companion: the first is hammered, all are rewritten.
VOLUMES = 20
# Seconds: between two tokens, and the most one phase of reading may take.
PAUSE, LIMIT = 0.005, 60.0
_SIZES = (marked.SIZE, marked.LARGE_SIZE)


@dataclass(frozen=True, slots=True)
class Counts:
    """How much is done: rounds, reads of a round by all readers, changes for the leases."""

    rounds: int
    ours: int
    naive: int
    changes: int


FULL = Counts(rounds=5, ours=2_050_000, naive=400_000, changes=60)
QUICK = Counts(rounds=2, ours=250_000, naive=60_000, changes=20)


@dataclass(slots=True)
class Found:
    """The results of the rounds, by method of writing."""

    tallies: dict[str, Tally] = field(default_factory=dict)
    opens: list[float] = field(default_factory=list)
    idle_opens: list[float] = field(default_factory=list)


def measure(say: Callable[[str], None], *, quick: bool) -> Iterator[Row]:
    """Hammer, then time the leases."""
    counts = QUICK if quick else FULL
    with Stand(say) as stand:
        stand.pods.make((number, SOURCES[2]) for number in grpc_load.NUMBERS)
        stand.start()
        stand.publish([(number, SOURCES[0]) for number in range(VOLUMES)])
        stand.publish([(VOLUMES, SOURCES[1])])
        found = Found()
        for number in range(counts.rounds):
            say(f"reading, round {number + 1} of {counts.rounds}")
            _round(stand, counts, found)
        stand.stop()
        yield from _rows(found)
        stand.plugin.program = ("-m", "bench.lease_probe", str(MEMORY / "holds"))
        stand.start()
        say("leases")
        yield from _leases(stand, counts)
        stand.clear()
        stand.stop()
        stand.plugin.program = PROGRAM


def _rows(found: Found) -> Iterator[Row]:
    ours = found.tallies["ours"]
    yield Row("reads_total", ours.reads)
    yield Row("bad_reads_ours", ours.bad)
    yield Row("rewrites_ours", ours.tokens / READERS)
    for way in naive.WAYS:
        yield Row(f"bad_reads_{way}", found.tallies[way].bad)
        yield Row(f"reads_{way}", found.tallies[way].reads)
    yield middle("reader_open_p999_us", found.opens)
    yield middle("reader_open_idle_p999_us", found.idle_opens)
    pairs = zip(found.opens, found.idle_opens, strict=True)
    yield middle("reader_open_ratio", [over / under for over, under in pairs])


def _round(stand: Stand, counts: Counts, found: Found) -> None:
    """Ours and each naive writer once, under the same load."""
    idle = str(stand.file(VOLUMES))
    with _grpc_load(stand):
        began = time.monotonic()
        tally, changes = _ours(stand, idle, counts.ours)
        pace = (time.monotonic() - began) / max(1, changes)
        found.opens.append(share_of(tally.opens, 0.999))
        found.idle_opens.append(share_of(tally.idle_opens, 0.999))
        found.tallies.setdefault("ours", Tally()).add(tally)
        for way in naive.WAYS:
            tally = _naively(way, idle, counts.naive, pace)
            found.tallies.setdefault(way, Tally()).add(tally)


def _ours(stand: Stand, idle: str, reads: int) -> tuple[Tally, int]:
    """Read while tokens change; return the totals and the number of changes."""
    hammers = _hammers(str(stand.file(0)), idle, reads)
    for changes, size in enumerate(itertools.cycle(_SIZES)):
        if not any(hammer.running for hammer in hammers):
            return _sum(hammers), changes
        stand.companions.change(SOURCES[0], size)
        time.sleep(PAUSE)
    raise AssertionError("a cycle ends")


def _naively(way: str, idle: str, reads: int, pace: float) -> Tally:
    path = MEMORY / way
    path.write_text(marked.token(), encoding="ascii")
    with _running([sys.executable, "-m", "bench.naive", way, str(path), f"{pace:f}"]):
        return _sum(_hammers(str(path), idle, reads))


def _hammers(path: str, idle: str, reads: int) -> list[Hammer]:
    return [Hammer(path, idle, reads=reads // READERS, seconds=LIMIT) for _ in range(READERS)]


def _sum(hammers: Sequence[Hammer]) -> Tally:
    whole = Tally()
    for hammer in hammers:
        whole.add(hammer.result())
    return whole


def _leases(stand: Stand, counts: Counts) -> Iterator[Row]:
    """How long leases are held by an idle plugin, by a busy one, and by a process alone."""
    rounds: dict[str, list[list[float]]] = {"idle": [], "busy": [], "alone": []}
    contents = (marked.token(size).encode() for size in itertools.cycle(_SIZES))
    for number in range(counts.rounds):
        rounds["idle"].append(_holds(stand, counts.changes))
        with _grpc_load(stand):
            hammers = _hammers(str(stand.file(0)), str(stand.file(VOLUMES)), counts.naive)
            rounds["busy"].append(_holds(stand, counts.changes))
            _sum(hammers)
        path = MEMORY / f"alone-{number}"
        rounds["alone"].append(lease_probe.alone(path, contents, counts.changes * VOLUMES))
    yield over_rounds("lease_hold_p99_us", rounds["idle"], 0.99)
    yield over_rounds("lease_hold_busy_p99_us", rounds["busy"], 0.99)
    yield over_rounds("lease_hold_floor_us", rounds["alone"], 0.99)


def _holds(stand: Stand, changes: int) -> list[float]:
    """Microseconds of the holds of so many changes."""
    path = Path(stand.plugin.program[-1])
    before = len(lease_probe.holds(path))
    for size in itertools.islice(itertools.cycle(_SIZES), changes):
        stand.companions.change(SOURCES[0], size)
        time.sleep(PAUSE)
    return lease_probe.holds(path)[before:]


@contextlib.contextmanager
def _grpc_load(stand: Stand) -> Iterator[None]:
    pods, source = stand.plugin.kubelet.root / "pods", SOURCES[2].name
    command = [sys.executable, "-m", "bench.grpc_load", str(pods)]
    with _running([*command, str(stand.plugin.socket), source]):
        yield


@contextlib.contextmanager
def _running(command: Sequence[str]) -> Iterator[None]:
    with subprocess.Popen(command) as process:  # noqa: S603 - our own command
        try:
            yield
            if process.poll() is not None:
                raise ChildProcessError(f"{command[2]} has ended")
        finally:
            process.kill()
