"""A program that reads token files without end, and takes read leases on them again and again.

Its arguments are the files; those that do not exist are left out. It prints a line when it holds
what it can.
"""

import contextlib
import fcntl
import os
import signal
import sys

PERIOD = 0.05  # seconds until leases are taken again, unless a writer has asked for one before


def main(paths: list[str]) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGIO])
    files = [os.open(path, os.O_RDONLY) for path in paths if os.path.exists(path)]  # noqa: PTH110
    hold(files)
    print(len(files), flush=True)  # noqa: T201 - what the parent waits for
    while True:
        signal.sigtimedwait([signal.SIGIO], PERIOD)
        hold(files)


def hold(files: list[int]) -> None:
    for file in files:
        with contextlib.suppress(OSError):
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        with contextlib.suppress(OSError):
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        os.pread(file, 1, 0)


if __name__ == "__main__":
    main(sys.argv[1:])
