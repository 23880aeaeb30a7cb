"""inotify(7), as the programs use it that watch token files."""

import ctypes
import os
import struct
from pathlib import Path
from typing import Self

MODIFY, ATTRIB, CLOSE_WRITE = 0x2, 0x4, 0x8
MOVED_TO, CREATE = 0x80, 0x100
CHANGES = MODIFY | CLOSE_WRITE
# Moves, removals and unmounts.
ENDS = 0x40 | MOVED_TO | CREATE | 0x200 | 0x400 | 0x800 | 0x2000 | 0x8000
_HEAD = struct.Struct("iIII")

_libc = ctypes.CDLL(None, use_errno=True)


class Inotify:
    """Watches one path, for changes and for everything that would take the path away."""

    def __init__(self, path: Path, mask: int = CHANGES | ENDS) -> None:
        self._fd = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        assert self._fd >= 0
        assert _libc.inotify_add_watch(self._fd, bytes(path), mask) > 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def read(self) -> list[int]:
        """Return the masks of the events since the last call."""
        masks = []
        try:
            content = os.read(self._fd, 1 << 20)
        except BlockingIOError:
            return []
        while content:
            _, mask, _, length = _HEAD.unpack_from(content)
            masks.append(mask)
            content = content[_HEAD.size + length :]
        return masks
