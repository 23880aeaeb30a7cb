"""Writes token files: created once, then rewritten in place under a write lease.

A reader that opens, reads and closes the file sees the old bytes or the new ones, never a mixture:
the kernel grants the lease only while no process has the file open, and makes later opens wait
until it is released (fcntl(2), F_SETLEASE). The inode stays, so subPath mounts see the new bytes.

From taking to releasing the lease no Python code runs. The system calls are chained inside C
iterators and go through a handle that keeps the GIL. A thread that lost the GIL in between would
hold the lease, and every reader would wait, until the other threads let it run again.

A SIGKILL may end the lease at any point, so every single call leaves a whole token: the old one or
the new one, followed only by newlines. The last call removes the newlines.
"""

import contextlib
import ctypes
import errno
import mmap
import os
from collections.abc import Callable, Iterator
from enum import Enum
from functools import partial
from operator import call, eq
from pathlib import Path

from csidriver.errors import DriverError, LimitReached, StorageFull, TokenFileFailed

# <linux/fcntl.h>; Python has no names for these.
_F_SETSIG = 10
_F_SETLEASE = 1024
_F_WRLCK = 1
_F_UNLCK = 2
_SIGURG = 23  # ignored by default; the default SIGIO of a lease break would end the process
_FALLOC_FL_KEEP_SIZE = 1
_REFUSED = (errno.EAGAIN, errno.EBUSY)  # of a lease
_BLOCK = 512  # of st_blocks, stat(2)
# O_NONBLOCK: the file's owner may hold a lease on it and must not make the plugin wait.
_CAREFULLY = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MAP_FIXED = 0x10  # <asm-generic/mman-common.h>
_WRITABLE = mmap.PROT_READ | mmap.PROT_WRITE
_OVER_RESERVED = mmap.MAP_SHARED | mmap.MAP_POPULATE | _MAP_FIXED

_libc_keeping_gil = ctypes.PyDLL(None, use_errno=True)
_fcntl = _libc_keeping_gil.fcntl
_fcntl.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int)
_pwrite = _libc_keeping_gil.pwrite
_pwrite.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_long)
_pwrite.restype = ctypes.c_ssize_t
_pread = _libc_keeping_gil.pread
_pread.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_long)
_pread.restype = ctypes.c_ssize_t
_mmap = _libc_keeping_gil.mmap
_mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long)
_mmap.restype = ctypes.c_void_p
_ftruncate = _libc_keeping_gil.ftruncate
_ftruncate.argtypes = (ctypes.c_int, ctypes.c_long)
_fallocate = _libc_keeping_gil.fallocate
_fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long)

# A system call to make and the result it must have for the next one to be made.
_Call = tuple[Callable[[], int | None], int]


class RewriteResult(Enum):
    """The result of a rewrite; the values are metric labels."""

    UNCHANGED = "unchanged"
    LEASED = "leased"
    UNLEASED = "unleased"
    BUSY = "busy"


def create(path: Path, content: bytes, *, uid: int, gid: int, mode: int) -> None:
    """Create a file, which has its owner and mode before it gets its name.

    Raises:
        StorageFull: the file system has no room.
        TokenFileFailed: any other failure; also if the file exists.
    """
    # No volume can ask for a file of this name: attributes may not begin with "..".
    draft = path.with_name("..draft")
    try:
        draft.unlink(missing_ok=True)
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            if os.write(fd, content) != len(content):
                raise OSError(errno.ENOSPC, "short write")
            os.fchown(fd, uid, gid)
            os.fchmod(fd, mode)
        finally:
            os.close(fd)
        # Unlike rename(2), link(2) replaces nothing.
        path.hardlink_to(draft)
        draft.unlink()
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise as_driver_error(path, error) from error


def rewrite(path: Path, content: bytes, *, leased: bool = True) -> RewriteResult:
    """Replace the content of a file that others read, keeping its inode, owner and mode.

    Equal content is not written again, because eosxd takes a new mtime for a new login. BUSY means
    that a process has the file open; nothing is written, and the caller tries again. With
    `leased=False` a reader may see half of a token: the last resort when the old one is about to
    expire.

    Raises:
        StorageFull: there is no room; the old content is untouched.
        TokenFileFailed: the file cannot be opened or written.
    """
    try:
        # The close of a descriptor for writing wakes the programs that watch the file, also if
        # nothing was written. Read even if the sizes differ: then no page must be swapped in later.
        with _opened(path, os.O_RDONLY) as fd:
            if os.pread(fd, os.fstat(fd).st_size, 0) == content:
                return RewriteResult.UNCHANGED
            if leased and _is_refused(fd):
                return RewriteResult.BUSY
        with _opened(path, os.O_RDWR) as fd:
            return _rewrite_open(fd, content, leased=leased)
    except BlockingIOError:
        return RewriteResult.BUSY
    except OSError as error:
        raise as_driver_error(path, error) from error


def erase(path: Path) -> None:
    """Empty and remove a token file, if it exists."""
    try:
        # As in rewrite(): another process's lease must not delay an unpublish.
        with contextlib.suppress(BlockingIOError), _opened(path, os.O_WRONLY) as fd:
            os.ftruncate(fd, 0)
        path.unlink()
    except FileNotFoundError:
        return
    except OSError as error:
        raise as_driver_error(path, error) from error


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    fd = os.open(path, flags | _CAREFULLY)
    try:
        yield fd
    finally:
        os.close(fd)


def _is_refused(fd: int) -> bool:
    """Take and release the lease; return True if another process has the file open."""
    ctypes.set_errno(0)
    return not call_chain(_lease_calls(fd)) and ctypes.get_errno() in _REFUSED


def _rewrite_open(fd: int, content: bytes, *, leased: bool) -> RewriteResult:
    if leased:
        return replace_under_lease(fd, content)
    with _write_calls(fd, content) as writing:
        ctypes.set_errno(0)
        if not call_chain(writing):
            raise _os_error(ctypes.get_errno())
    return RewriteResult.UNLEASED


def replace_under_lease(fd: int, content: bytes) -> RewriteResult:
    """Take the lease, write and release it, without running Python code in between."""
    take, release = _lease_calls(fd)
    with _write_calls(fd, content) as writing:
        ctypes.set_errno(0)
        if call_chain([take, *writing, release]):
            return RewriteResult.LEASED
        number = ctypes.get_errno()
        # If taking the lease failed this does nothing; if a write failed, readers must not wait.
        release[0]()
    if number in _REFUSED:
        return RewriteResult.BUSY
    raise _os_error(number)


def _lease_calls(fd: int) -> list[_Call]:
    """Return the calls that take the lease and release it."""
    _fcntl(fd, _F_SETSIG, _SIGURG)
    return [(partial(_fcntl, fd, _F_SETLEASE, lease), 0) for lease in (_F_WRLCK, _F_UNLCK)]


def call_chain(calls: list[_Call]) -> bool:
    """Make calls until one has an unexpected result, in C iterators without bytecode between."""
    functions, expected = zip(*calls, strict=True)
    return all(map(eq, map(call, functions), expected))


def _os_error(number: int) -> OSError:
    # Without an errno a write was too short.
    return OSError(number or errno.EIO, os.strerror(number or errno.EIO))


def _reserve_calls(fd: int, length: int) -> list[_Call]:
    """Return the call that reserves the pages a file still lacks, or none.

    Without it a write to a full tmpfs stops in the middle of a token. It keeps the size, or readers
    would see zeros after the old bytes. It changes mtime and ctime, so it belongs under the lease.
    """
    if length <= os.fstat(fd).st_blocks * _BLOCK:
        return []
    return [(partial(_fallocate, fd, _FALLOC_FL_KEEP_SIZE, 0, length), 0)]


@contextlib.contextmanager
def _write_calls(fd: int, content: bytes) -> Iterator[list[_Call]]:
    """Yield calls that replace the content; a SIGKILL may come after each of them."""
    size = os.fstat(fd).st_size
    reserve = _reserve_calls(fd, len(content))
    padded = content.ljust(size, b"\n")
    length = len(padded)
    cut = (partial(_ftruncate, fd, len(content)), 0)
    if length <= mmap.PAGESIZE:
        yield [*reserve, (partial(_pwrite, fd, padded, length, 0), length), cut]
        return
    # A SIGKILL stops pwrite(2) between two pages (measured: a quarter of all SIGKILLs during writes
    # of 64 KiB), but not pread(2) into pages that are mapped already.
    newlines = b"\n" * (length - size)
    # Either moves mtime and ctime, which writing through a mapping does not.
    grow = (partial(_pwrite, fd, newlines, len(newlines), size), len(newlines))
    touch = (partial(_ftruncate, fd, size), 0)
    with mmap.mmap(-1, length) as reserved, os.fdopen(os.memfd_create("token"), "w+b", 0) as source:
        source.write(padded)
        address = ctypes.addressof(ctypes.c_char.from_buffer(reserved))
        yield [
            *reserve,
            grow if newlines else touch,
            (partial(_mmap, address, length, _WRITABLE, _OVER_RESERVED, fd, 0), address),
            (partial(_pread, source.fileno(), address, length, 0), length),
            cut,
        ]


def as_driver_error(path: Path, error: OSError) -> DriverError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull("the token file system of this node is full; raise --tmpfs-size")
    reason = os.strerror(error.errno or errno.EIO)
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return LimitReached(f"the node plugin cannot open a file: {reason}; raise its limit")
    return TokenFileFailed(f"token file {'/'.join(path.parts[-3:])}: {reason}")
