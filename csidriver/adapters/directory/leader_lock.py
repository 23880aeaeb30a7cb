"""The lock of the refresher that works, in a file of the folder."""

from pathlib import Path

from csidriver.adapters.directory.object_files import store_errors
from csidriver.files import FileLock


class FolderLock:
    """The lock of one folder, which is made if there is none."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = FileLock(folder / ".refresher")

    def acquire(self) -> bool:
        """Take the lock unless it is ours already; False if another process has it."""
        with store_errors("lock", self._folder):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return self._lock.acquire()

    def release(self) -> None:
        self._lock.release()
