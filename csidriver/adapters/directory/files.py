"""Files below the root, opened relative to descriptors, so that no symlink is ever followed.

Only the root itself may be a symlink: the operator chose it. Every OSError becomes a
StoreUnavailable.
"""

import fcntl
import os
import stat
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EACCES, ELOOP, ENOENT, ENOTDIR, ENXIO
from pathlib import Path

from csidriver.adapters.directory.manifest import MAX_SIZE, InvalidManifest
from csidriver.adapters.directory.object_key import ObjectKey
from csidriver.core.kubernetes.validation import is_dns1123_label
from csidriver.errors import StoreRefused, StoreUnavailable

_FOLDER = os.O_RDONLY | os.O_DIRECTORY
_FILE_MODE = 0o600
_FOLDER_MODE = 0o700

Signature = tuple[int, int, int]  # mtime in nanoseconds, inode, size in bytes


class FileTree:
    """Reads and writes whole files; a root or namespace that does not exist counts as empty."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def namespaces(self) -> list[str]:
        with _translated("list namespaces"):
            try:
                with os.scandir(self._root) as entries:
                    found = [e.name for e in entries if e.is_dir(follow_symlinks=False)]
            except FileNotFoundError:
                return []
            return sorted(filter(is_dns1123_label, found))

    def files(self, namespace: str) -> dict[str, Signature]:
        """Return the signatures of all `*.yaml` in a namespace, by file name."""
        with _translated(f"list {namespace}"), self._opened(namespace) as folder:
            if folder is None:
                return {}
            listed = os.listdir(folder)  # noqa: PTH208 - a descriptor has no Path
            names = sorted(n for n in listed if n.endswith(".yaml") and n[0] != ".")
            signatures = {name: _signature(name, folder) for name in names}
            return {name: found for name, found in signatures.items() if found is not None}

    def signature(self, key: ObjectKey) -> Signature | None:
        """Return a value that changes whenever the file changes, None without a file."""
        with _translated(f"read {key.path}"), self._opened(key.namespace) as folder:
            return None if folder is None else _signature(key.file, folder)

    def read(self, key: ObjectKey) -> tuple[bytes, float] | None:
        """Return the file's content and its age in seconds, None without a file.

        Raises InvalidManifest if it is not a regular file, or too large.
        """
        with _translated(f"read {key.path}"), self._opened(key.namespace) as folder:
            return None if folder is None else _read(key.file, folder)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock out all other writers, also those of other processes; creates the root."""
        with _translated("lock the store"):
            self._root.mkdir(_FOLDER_MODE, parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
            lock = os.open(self._root / ".lock", flags, _FILE_MODE)
        try:
            with _translated("lock the store"):
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def write(self, key: ObjectKey, content: bytes) -> None:
        """Replace a file atomically; to be called with the lock held."""
        with _translated(f"write {key.path}"):
            self._create_namespace(key.namespace)
            with self._opened(key.namespace) as folder:
                if folder is None:
                    raise StoreRefused(f"namespace {key.namespace} is not a folder")
                _refuse_irregular(key, folder)
                _replace(key.file, folder, content)

    def unlink(self, key: ObjectKey) -> None:
        with _translated(f"remove {key.path}"), self._opened(key.namespace) as folder:
            if folder is not None:
                with suppress(FileNotFoundError):
                    os.unlink(key.file, dir_fd=folder)

    def _create_namespace(self, namespace: str) -> None:
        root = os.open(self._root, _FOLDER)
        try:
            with suppress(FileExistsError):
                os.mkdir(namespace, _FOLDER_MODE, dir_fd=root)
        finally:
            os.close(root)

    @contextmanager
    def _opened(self, namespace: str) -> Iterator[int | None]:
        folder = self._open(namespace)
        try:
            yield folder
        finally:
            if folder is not None:
                os.close(folder)

    def _open(self, namespace: str) -> int | None:
        try:
            root = os.open(self._root, _FOLDER)
        except FileNotFoundError:
            return None
        try:
            return os.open(namespace, _FOLDER | os.O_NOFOLLOW, dir_fd=root)
        except OSError as error:
            if error.errno in {ENOENT, ENOTDIR, ELOOP}:
                return None
            raise
        finally:
            os.close(root)


def _signature(file: str, folder: int) -> Signature | None:
    try:
        found = os.stat(file, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _read(file: str, folder: int) -> tuple[bytes, float] | None:
    # O_NONBLOCK: opening a pipe must not wait for a writer.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(file, flags, dir_fd=folder)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in {ELOOP, ENXIO, EACCES}:
            raise InvalidManifest("it is a symlink or a socket, or not readable") from None
        raise
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise InvalidManifest("it is not a regular file")
        with os.fdopen(descriptor, "rb", closefd=False) as opened:
            content = opened.read(MAX_SIZE + 1)
    finally:
        os.close(descriptor)
    if len(content) > MAX_SIZE:
        raise InvalidManifest(f"it is larger than {MAX_SIZE} bytes")
    return content, max(0.0, time.time() - found.st_mtime)


def _refuse_irregular(key: ObjectKey, folder: int) -> None:
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(os.stat(key.file, dir_fd=folder, follow_symlinks=False).st_mode):
            raise StoreRefused(f"{key.path} is not a regular file")


def _replace(file: str, folder: int, content: bytes) -> None:
    temporary = f".{uuid.uuid4().hex}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    descriptor = os.open(temporary, flags, _FILE_MODE, dir_fd=folder)
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(content)
        os.rename(temporary, file, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=folder)
        raise


@contextmanager
def _translated(action: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(f"cannot {action}: {error.strerror}") from error
