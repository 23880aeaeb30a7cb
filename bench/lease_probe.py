"""The node plugin with two clocks more: one read after it has a write lease, one after it let go.

`python -m bench.lease_probe FILE node ...` is `oauth2-csi node ...`, and appends the nanoseconds
of each hold to a file. The clocks are system calls in the same chain as the plugin's own, so that
no Python code comes in between; nothing else of the plugin differs.
"""

import ctypes
import os
import struct
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from csidriver import cli
from csidriver.node import tokenfile

_HOLD = struct.Struct("=Q")
_Calls = list[tuple[Callable[[], int | None], int]]
_clock_gettime = ctypes.PyDLL(None).clock_gettime
_clock_gettime.argtypes = (ctypes.c_int, ctypes.c_void_p)


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))

    def total(self) -> int:
        """Nanoseconds."""
        return int(self.seconds) * 10**9 + int(self.nanoseconds)


def probe(tell: Callable[[int], None]) -> None:
    """From now on tell, in this process, how long each lease was held to write (nanoseconds)."""
    in_one_go = tokenfile.call_chain

    def timed(calls: _Calls) -> bool:
        taking = getattr(calls[0][0], "args", ())[1:]
        is_trial = not calls[2:]
        if is_trial or taking != (tokenfile._F_SETLEASE, tokenfile._F_WRLCK):  # noqa: SLF001
            return in_one_go(calls)
        began, ended = _Timespec(), _Timespec()
        whole = in_one_go([calls[0], _now(began), *calls[1:], _now(ended)])
        if whole:
            tell(ended.total() - began.total())
        return whole

    tokenfile.call_chain = timed


def holds(path: Path) -> list[float]:
    """Microseconds of all holds that were told to a file so far."""
    content = path.read_bytes() if path.exists() else b""
    whole = content[: len(content) // _HOLD.size * _HOLD.size]
    return [hold / 1000 for (hold,) in _HOLD.iter_unpack(whole)]


def alone(path: Path, contents: Iterator[bytes], count: int) -> list[float]:
    """Microseconds of so many holds by a process that does nothing else: this one."""
    before, told = tokenfile.call_chain, list[int]()
    probe(told.append)
    try:
        tokenfile.create(path, b"-", uid=0, gid=0, mode=0o400)
        for _ in range(count):
            tokenfile.rewrite(path, next(contents))
    finally:
        tokenfile.call_chain = before
    return [hold / 1000 for hold in told]


def _now(into: _Timespec) -> tuple[Callable[[], int | None], int]:
    return partial(_clock_gettime, time.CLOCK_MONOTONIC, ctypes.addressof(into)), 0


def main() -> int:
    """Run the plugin with the probe; return its exit status."""
    descriptor = os.open(sys.argv.pop(1), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def tell(hold: int) -> None:
        os.write(descriptor, _HOLD.pack(hold))

    probe(tell)
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
