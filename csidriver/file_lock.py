"""A lock between processes of one machine; the kernel frees it when its process ends."""

import fcntl
import os
from pathlib import Path


class FileLock:
    """The lock of a file, which is made if there is none. Not for several threads."""

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
