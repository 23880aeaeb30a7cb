"""Whose a spool folder is: a name that lives as long as the folder, and a lock while at work.

An intent is settled from the spool by whoever announced it, so two processes must never take each
other for themselves, whatever their flags say.
"""

import fcntl
import os
import secrets
from contextlib import suppress
from pathlib import Path

from csidriver.errors import SpoolFailed

_NAME, _LOCK = ".owner", ".lock"


class Claim:
    """One process's claim to a folder; not shared between threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock: int | None = None

    def name(self) -> str:
        """Names the folder, the same for every process that finds it. Raises SpoolFailed."""
        path = self._folder / _NAME
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not path.exists():
                self._make(path)
            return path.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise SpoolFailed(f"{path}: {type(error).__name__}") from error

    def take(self) -> bool:
        """Keep other processes from working with it; False while one does. Raises SpoolFailed."""
        if self._lock is not None:
            return True
        path = self._folder / _LOCK
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._lock = lock
        except OSError as error:
            raise SpoolFailed(f"{path}: {error.strerror}") from error
        if self._lock is None:
            os.close(lock)
        return self._lock is not None

    def leave(self) -> None:
        """Let another process work with it; the kernel does that for whoever dies."""
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def _make(self, path: Path) -> None:
        """Give the folder its name, whole and once, whoever else does the same."""
        name = secrets.token_hex(8)
        draft = path.with_name(f"{_NAME}.{name}")
        draft.write_text(name, encoding="ascii")
        with suppress(FileExistsError):
            path.hardlink_to(draft)
        draft.unlink()
