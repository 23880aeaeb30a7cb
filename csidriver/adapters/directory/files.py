"""Files below the root folder: read whole, replaced atomically.

Every OSError becomes a StoreUnavailable.
"""

import fcntl
import os
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from csidriver.adapters.directory.manifest import MAX_SIZE, InvalidManifest
from csidriver.adapters.directory.object_key import ObjectKey
from csidriver.core.kubernetes.validation import is_dns1123_label
from csidriver.errors import StoreUnavailable

_FILE_MODE = 0o600
_FOLDER_MODE = 0o700

Signature = tuple[int, int, int]  # mtime in nanoseconds, inode, size in bytes


class FileTree:
    """Reads and writes whole files; a root or namespace that does not exist counts as empty."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def namespaces(self) -> list[str]:
        """Return the names of all namespace folders."""
        with _as_store_error("list namespaces"):
            found = self._root.iterdir() if self._root.exists() else ()
            return sorted(p.name for p in found if p.is_dir() and is_dns1123_label(p.name))

    def files(self, namespace: str) -> dict[str, Signature]:
        """Return the signatures of all `*.yaml` in a namespace, by file name."""
        with _as_store_error(f"list {namespace}"):
            paths = sorted((self._root / namespace).glob("[!.]*.yaml"))
            signatures = {path.name: _signature(path) for path in paths}
            return {name: found for name, found in signatures.items() if found is not None}

    def signature(self, key: ObjectKey) -> Signature | None:
        """Return a value that changes whenever the file changes, None without a file."""
        with _as_store_error(f"read {key.path}"):
            return _signature(self._root / key.path)

    def read(self, key: ObjectKey) -> bytes | None:
        """Return the file's content, None without a file.

        Raises InvalidManifest if it is not a regular file, or too large.
        """
        with _as_store_error(f"read {key.path}"):
            path = self._root / key.path
            try:
                found = path.lstat()
                if not stat.S_ISREG(found.st_mode):
                    raise InvalidManifest("it is not a regular file")
                if found.st_size > MAX_SIZE:
                    raise InvalidManifest(f"it is larger than {MAX_SIZE} bytes")
                return path.read_bytes()
            except FileNotFoundError:
                return None
            except PermissionError:
                raise InvalidManifest("it is not readable") from None

    def uid(self, namespace: str) -> str:
        """Return the uid of a namespace, "" if it has no folder; call with the lock held.

        It is in a file, so that another folder of the same name has another one.
        """
        with _as_store_error(f"read namespace {namespace}"):
            folder = self._root / namespace
            file = folder / ".uid"
            if folder.is_dir() and not file.exists():
                file.write_text(str(uuid.uuid4()), encoding="ascii")
            return file.read_text(encoding="ascii") if folder.is_dir() else ""

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock out all other writers, also those of other processes; creates the root."""
        with _as_store_error("lock the store"):
            self._root.mkdir(_FOLDER_MODE, parents=True, exist_ok=True)
            lock = os.open(self._root / ".lock", os.O_RDWR | os.O_CREAT, _FILE_MODE)
        try:
            with _as_store_error("lock the store"):
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def write(self, key: ObjectKey, content: bytes) -> None:
        """Replace a file atomically; call with the lock held."""
        with _as_store_error(f"write {key.path}"):
            path = self._root / key.path
            path.parent.mkdir(_FOLDER_MODE, exist_ok=True)
            draft = path.with_name(".draft")
            draft.touch(_FILE_MODE)
            draft.write_bytes(content)
            draft.replace(path)

    def unlink(self, key: ObjectKey) -> None:
        """Remove a file; absent is fine."""
        with _as_store_error(f"remove {key.path}"):
            (self._root / key.path).unlink(missing_ok=True)


def _signature(path: Path) -> Signature | None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


@contextmanager
def _as_store_error(action: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(f"cannot {action}: {error.strerror}") from error
