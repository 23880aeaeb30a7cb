"""Torn reads of token files, and the duration of write leases.

Readers read a file that the plugin rewrites, while kubelet's calls keep it busy; then one that a
naive writer rewrites at the same pace. `python -m bench.reads FILE node ...` is the plugin with two
clocks more, in the chain of system calls of the lease: it appends each duration to a file.
"""

import ctypes
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

from bench.node import SIZES, SOURCES, Caller, Stand, is_whole, random_token
from bench.processes import MEMORY, Child
from bench.report import Row, shares
from csidriver import cli
from csidriver.node import tokenfile

_BUSY = range(2000, 2020)  # volumes that are published and unpublished without end
_PAUSE = 0.005  # seconds between two tokens
_HOLDS = MEMORY / "holds"
_clock_gettime = ctypes.PyDLL(None).clock_gettime
_clock_gettime.argtypes = (ctypes.c_int, ctypes.c_void_p)


def measure(*, quick: bool) -> Iterator[Row]:
    """Read while tokens change, then time the leases."""
    rounds, ours, naive, changes = (1, 50_000, 10_000, 5) if quick else (5, 2_050_000, 200_000, 60)
    bad, path = {"ours": 0, "truncate": 0}, MEMORY / "naive"
    with Stand() as stand:
        stand.make_pods([(number, SOURCES[2]) for number in _BUSY])
        stand.start()
        stand.publish([(number, SOURCES[0]) for number in range(20)])
        with _busy(stand):
            for _ in range(rounds):
                torn, pace = _read_ours(stand, ours)
                bad["ours"] += torn
                path.write_text(random_token(), encoding="ascii")
                with Child(write_naively, path, pace):
                    bad["truncate"] += _read(str(path), naive, lambda: None)
        stand.stop()
        yield Row("reads_total", [rounds * ours], "" if quick else ">= 1e7")
        yield Row("bad_reads_ours", [bad["ours"]], "<= 0")
        yield Row("bad_reads_truncate", [bad["truncate"]])
        stand.start((sys.executable, "-m", "bench.reads", str(_HOLDS)))
        yield from _time_leases(stand, rounds, changes)
        stand.stop()


def _busy(stand: Stand) -> Child:
    return Child(keep_busy, stand.kubelet.root, stand.socket, stand.uids)


def keep_busy(_: Connection, kubelet: Path, socket: Path, uids: dict[int, str]) -> None:
    caller = Caller(kubelet, socket, uids)
    for number in itertools.cycle(_BUSY):
        for pause in (0.002, 0.002):
            caller.publish(number, SOURCES[2])
            time.sleep(pause)
        caller.unpublish(number)


def _read_ours(stand: Stand, count: int) -> tuple[int, float]:
    """Read while tokens change; return bad reads and the seconds from one change to the next."""
    sizes, changed = itertools.cycle(SIZES), []

    def change() -> None:
        changed.append(time.monotonic())
        stand.change(SOURCES[0], next(sizes))

    bad = _read(stand.file(0), count, change)
    return bad, (time.monotonic() - changed[0]) / len(changed)


def _read(path: str, count: int, meanwhile: Callable[[], None]) -> int:
    """Read so often, by two processes; return the bad reads."""
    with Child(read, path, count // 2) as one, Child(read, path, count // 2) as other:
        while not (one.connection.poll() and other.connection.poll()):
            meanwhile()
            time.sleep(_PAUSE)
        return int(one.receive() + other.receive())


def read(connection: Connection, path: str, count: int) -> None:
    """Open, read and close a file so often, whole and in chunks; send how many reads were bad."""
    # Readers are to find every gap, not to keep the writer from writing.
    os.nice(10)
    bad, last = 0, b""
    for number in range(count):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        if number % 4:
            content = os.read(descriptor, 65536)
        else:
            content = b"".join(iter(partial(os.read, descriptor, 1024), b""))
        os.close(descriptor)
        if content != last:
            bad += not is_whole(content)
            last = content
    connection.send(bad)


def write_naively(_: Connection, path: Path, pause: float) -> None:
    """Truncate and write tokens without end, as programs do that do not know better."""
    for size in itertools.cycle(SIZES):
        path.write_text(random_token(size), encoding="ascii")
        time.sleep(pause)


def _time_leases(stand: Stand, rounds: int, changes: int) -> Iterator[Row]:
    """Time leases of an idle plugin, of a busy one, and of a process that does nothing else."""
    idle, busy, alone = [], [], []
    for number in range(rounds):
        idle.append(_leases(stand, changes))
        with _busy(stand), Child(read, stand.file(0), sys.maxsize):
            busy.append(_leases(stand, changes))
        alone.append(leases_alone(MEMORY / f"alone-{number}", 20 * changes))
    floor = shares(alone, 0.99)
    yield Row("lease_hold_p99_us", shares(idle, 0.99), "", floor)
    yield Row("lease_hold_busy_p99_us", shares(busy, 0.99), "", floor)


def _leases(stand: Stand, changes: int) -> list[float]:
    """Microseconds of the leases of so many changes."""
    before = len(_HOLDS.read_text("ascii").split())
    for size in itertools.islice(itertools.cycle(SIZES), changes):
        stand.change(SOURCES[0], size)
        time.sleep(_PAUSE)
    return [int(hold) / 1000 for hold in _HOLDS.read_text("ascii").split()[before:]]


def leases_alone(path: Path, count: int) -> list[float]:
    """Microseconds of so many leases by a process that does nothing else: this one."""
    before, found = tokenfile.call_chain, list[int]()
    report_leases(found.append)
    try:
        tokenfile.create(path, b"-", uid=0, gid=0, mode=0o400)
        for size in itertools.islice(itertools.cycle(SIZES), count):
            tokenfile.rewrite(path, random_token(size).encode())
    finally:
        tokenfile.call_chain = before
    return [hold / 1000 for hold in found]


def report_leases(report: Callable[[int], object]) -> None:
    """From now on report, in this process, how long each lease was held (nanoseconds)."""
    in_one_go = tokenfile.call_chain

    def timed(calls: list[tuple[Callable[[], int | None], int]]) -> bool:
        taking = getattr(calls[0][0], "args", ())[1:]
        is_trial = not calls[2:]
        if is_trial or taking != (tokenfile._F_SETLEASE, tokenfile._F_WRLCK):  # noqa: SLF001
            return in_one_go(calls)
        clocks = [(ctypes.c_int64 * 2)(), (ctypes.c_int64 * 2)()]
        first, last = (
            (partial(_clock_gettime, time.CLOCK_MONOTONIC, ctypes.addressof(clock)), 0)
            for clock in clocks
        )
        is_complete = in_one_go([calls[0], first, *calls[1:], last])
        if is_complete:
            began, ended = (seconds * 10**9 + rest for seconds, rest in clocks)
            report(ended - began)
        return is_complete

    tokenfile.call_chain = timed


def main() -> int:
    """Run the plugin; return its exit status."""
    with Path(sys.argv.pop(1)).open("ab", buffering=0) as file:
        report_leases(lambda hold: file.write(b"%d\n" % hold))
        return cli.main()


if __name__ == "__main__":
    sys.exit(main())
