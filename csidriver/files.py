"""Files of this machine: locks between its processes, and whether a file has changed."""

import fcntl
import os
from pathlib import Path


def stamp(status: os.stat_result) -> tuple[int, int, int]:
    """Return what differs for another file of a name, and for one that was written again.

    The inode alone is not enough: a new file may get the number of a removed one. Nor is the time:
    all writes of some milliseconds have the same.
    """
    return status.st_mtime_ns, status.st_ino, status.st_size


class FileLock:
    """The lock of a file, which is made if there is none. Not for several threads.

    The kernel frees it when its process ends.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock: int | None = None

    def acquire(self, *, wait: bool = False) -> bool:
        """Take the lock unless it is ours already; False if another has it. Raises OSError."""
        if self._lock is None:
            lock = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(lock)
                if isinstance(error, BlockingIOError):
                    return False
                raise
            self._lock = lock
        return True

    def release(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)
