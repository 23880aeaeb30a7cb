"""A lock between processes of one machine; the kernel releases it when its process ends."""

import fcntl
import os
from pathlib import Path

from csidriver.errors import StoreUnavailable

LOCK_FILE = ".refresher"


class FileLock:
    """A locked file in a folder; not thread-safe."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK_FILE
        self._lock: int | None = None

    def acquire(self) -> bool:
        """Take the lock unless it is ours already; False if another process has it."""
        try:
            return self._lock is not None or self._try_lock()
        except OSError as error:
            raise StoreUnavailable(f"cannot lock {self._path}: {error.strerror}") from error

    def release(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def _try_lock(self) -> bool:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        self._lock = lock
        return True
