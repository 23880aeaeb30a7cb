"""Files below the root, reached through descriptors so that no symlink is ever followed.

The root itself may be a symlink: it is the operator's word. Every OSError leaves as
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
    """Reads and writes whole files; a missing root or namespace is an empty one."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def namespaces(self) -> list[str]:
        """Names of all namespace folders."""
        with _translated("list namespaces"):
            try:
                with os.scandir(self._root) as entries:
                    found = [e.name for e in entries if e.is_dir(follow_symlinks=False)]
            except FileNotFoundError:
                return []
            return sorted(filter(is_dns1123_label, found))

    def files(self, namespace: str) -> dict[str, Signature]:
        """Signatures of all `*.yaml` in a namespace, by file name."""
        with _translated(f"list {namespace}"):
            folder = self._open(namespace)
            if folder is None:
                return {}
            try:
                listed = os.listdir(folder)  # noqa: PTH208 - a descriptor has no Path
                names = [n for n in listed if n.endswith(".yaml") and n[0] != "."]
                signatures = {name: _signature(name, folder) for name in sorted(names)}
            finally:
                os.close(folder)
            return {name: found for name, found in signatures.items() if found is not None}

    def signature(self, slot: ObjectKey) -> Signature | None:
        """What changes whenever the file changes, None if there is no file."""
        with _translated(f"look at {slot.path}"):
            folder = self._open(slot.namespace)
            if folder is None:
                return None
            try:
                return _signature(slot.file, folder)
            finally:
                os.close(folder)

    def read(self, slot: ObjectKey) -> tuple[bytes, float] | None:
        """The file's content and its age in seconds, None if there is no file.

        Raises Unfit for what is no file.
        """
        with _translated(f"read {slot.path}"):
            folder = self._open(slot.namespace)
            if folder is None:
                return None
            try:
                return _read(slot.file, folder)
            finally:
                os.close(folder)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps all other writers out, those of other processes too; creates the root."""
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

    def write(self, slot: ObjectKey, content: bytes) -> None:
        """Put a file in place at once; call with the lock held. A crash leaves old or new."""
        with _translated(f"write {slot.path}"):
            folder = self._create_namespace(slot.namespace)
            try:
                _refuse_irregular(slot, folder)
                _replace(slot.file, folder, content)
            finally:
                os.close(folder)

    def unlink(self, slot: ObjectKey) -> None:
        """Remove a file, or the symlink that stands in its place; absent is fine."""
        with _translated(f"remove {slot.path}"):
            folder = self._open(slot.namespace)
            if folder is None:
                return
            try:
                with suppress(FileNotFoundError):
                    os.unlink(slot.file, dir_fd=folder)
            finally:
                os.close(folder)

    def _create_namespace(self, namespace: str) -> int:
        root = os.open(self._root, _FOLDER)
        try:
            with suppress(FileExistsError):
                os.mkdir(namespace, _FOLDER_MODE, dir_fd=root)
        finally:
            os.close(root)
        folder = self._open(namespace)
        if folder is None:
            raise StoreRefused(f"namespace {namespace} is no folder")
        return folder

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
    # O_NONBLOCK: opening a pipe must not wait for somebody to write into it.
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
            raise InvalidManifest("it is no regular file")
        with os.fdopen(descriptor, "rb", closefd=False) as opened:
            content = opened.read(MAX_SIZE + 1)
    finally:
        os.close(descriptor)
    if len(content) > MAX_SIZE:
        raise InvalidManifest(f"it is larger than {MAX_SIZE} bytes")
    return content, max(0.0, time.time() - found.st_mtime)


def _refuse_irregular(slot: ObjectKey, folder: int) -> None:
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(os.stat(slot.file, dir_fd=folder, follow_symlinks=False).st_mode):
            raise StoreRefused(f"{slot.path} is no regular file")


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
