"""A lock between processes of one machine; the kernel releases it when its process ends."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from csidriver.errors import StoreUnavailable

LOCK_FILE = ".refresher"


class FileLock:
    """A locked file in a folder; not thread-safe."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK_FILE
        self._lock: int | None = None

    def acquire(self) -> bool:
        """Take the lock or check that it is still ours; False if another process has it."""
        try:
            if self._lock is not None and self._is_in_place(self._lock):
                return True
            self.release()
            return self._try_lock()
        except OSError as error:
            raise StoreUnavailable(f"cannot lock {self._path}: {error.strerror}") from error

    def release(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def _try_lock(self) -> bool:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self._is_in_place(lock):
                    self._lock = lock
        finally:
            if self._lock is None:
                os.close(lock)
        return self._lock is not None

    def _is_in_place(self, lock: int) -> bool:
        """Return True if the locked file is the one that other processes find."""
        try:
            return os.path.samestat(os.fstat(lock), self._path.lstat())
        except FileNotFoundError:
            return False
