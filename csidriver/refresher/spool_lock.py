"""The identity of a spool folder, and the lock of the process that works with it.

A process recovers its own intents from its spool, so two processes must never use the same name,
whatever their flags say.
"""

import fcntl
import os
import secrets
from pathlib import Path

from csidriver.errors import SpoolFailed
from csidriver.file_lock import FileLock
from csidriver.refresher.spool import write_durably

_NAME, _LOCK = ".owner", ".lock"


class SpoolLock:
    """The lock of a spool folder. Not for several threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = FileLock(folder / _LOCK)

    def folder_id(self) -> str:
        """Return the name of the folder, which every process finds there. Raise SpoolFailed."""
        path = self._folder / _NAME
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return self._read_id(path) or self._create_id(path)
        except (OSError, UnicodeDecodeError) as error:
            raise SpoolFailed(f"{path}: {type(error).__name__}") from error

    def acquire(self) -> bool:
        """Take the lock; return False while another process has it. Raise SpoolFailed."""
        try:
            return self._lock.acquire()
        except OSError as error:
            raise SpoolFailed(f"{self._folder / _LOCK}: {error.strerror}") from error

    def release(self) -> None:
        self._lock.release()

    def _read_id(self, path: Path) -> str:
        """Return the name, "" without one: a power failure may have left an empty file."""
        return path.read_text(encoding="ascii") if path.exists() else ""

    def _create_id(self, path: Path) -> str:
        """Name the folder, once, even if other processes do the same."""
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            if folder_id := self._read_id(path):
                return folder_id
            folder_id = secrets.token_hex(8)
            write_durably(path, folder_id)
            return folder_id
        finally:
            os.close(folder)
