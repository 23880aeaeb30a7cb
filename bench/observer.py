"""Tells when files were written, without opening them: readers would keep writers from a lease.

inotify(7) says when a writer has closed a file; the clock is read as soon as that is heard, so an
instant may be late by a wake-up of this process, never early. (An mtime may be early by a tick,
also where the kernel has fine time stamps: it hands those out only when a coarse one would not
tell two writes apart.)
"""

import ctypes
import os
import struct
import threading
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from csidriver.errors import DriverError

# <sys/inotify.h>
_CLOSE_WRITE = 0x8
_EVENT = struct.Struct("iIII")
_libc = ctypes.CDLL(None, use_errno=True)


class Observer:
    """Hears of every file given, in a thread of its own."""

    def __init__(self, files: Iterable[str]) -> None:
        self._descriptor = _libc.inotify_init1(os.O_CLOEXEC)
        self._names: dict[int, str] = {}
        for file in files:
            watch = _libc.inotify_add_watch(self._descriptor, os.fsencode(file), _CLOSE_WRITE)
            if watch < 0:
                raise DriverError(f"{file}: {os.strerror(ctypes.get_errno())}")
            self._names[watch] = file
        self._observed: dict[str, int] = {}
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._listen, name="observer", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Do nothing: the daemon thread ends with the process; a blocked read cannot be ended."""

    def forget(self) -> None:
        """Count from here on."""
        with self._news:
            self._observed.clear()

    def last(self, files: Iterable[str], timeout: float) -> int:
        """When the last of these files was first closed by a writer since `forget`, in epoch ns.

        Raises DriverError if that takes longer than `timeout` seconds.
        """
        wanted = set(files)
        with self._news:
            if not self._news.wait_for(lambda: wanted <= self._observed.keys(), timeout):
                raise DriverError(f"not all files were written within {timeout:g} s")
            return max(self._observed[file] for file in wanted)

    def _listen(self) -> None:
        while True:
            chunk = os.read(self._descriptor, 65536)
            now = time.time_ns()
            with self._news:
                offset = 0
                while offset < len(chunk):
                    watch, _, _, length = _EVENT.unpack_from(chunk, offset)
                    offset += _EVENT.size + length
                    self._observed.setdefault(self._names[watch], now)
                self._news.notify_all()
