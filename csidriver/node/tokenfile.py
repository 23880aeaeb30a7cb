"""Writes token files: created once, then rewritten in place under a write lease.

A reader that opens, reads and closes sees the old bytes or the new ones, never a mixture: the
kernel grants the lease only while nobody has the file open, and makes later opens wait until it is
released (fcntl(2), F_SETLEASE). The inode stays, so subPath mounts see the new bytes too.

From taking to releasing the lease no Python code runs. The system calls are chained inside C
iterators and go through a handle that keeps the GIL: a thread that lost the GIL in between would
hold the lease, and with it every reader, for as long as other threads please.

A SIGKILL ends the lease wherever the process is, so every single call leaves a whole token: the old
one or the new one, with nothing but newlines behind it. Only the last call takes those away.
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

from csidriver.errors import DriverError, StorageFull, TokenFileFailed

# <linux/fcntl.h>; Python has no names for these.
_F_SETSIG = 10
_F_SETLEASE = 1024
_F_WRLCK = 1
_F_UNLCK = 2
_SIGURG = 23  # ignored by default; the default SIGIO of a lease break would end the process
_FALLOC_FL_KEEP_SIZE = 1
_BLOCK = 512  # of st_blocks, stat(2)
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
    """How a rewrite ended; the values are metric labels."""

    UNCHANGED = "unchanged"
    LEASED = "leased"
    UNLEASED = "unleased"
    BUSY = "busy"


def create(path: Path, content: bytes, *, uid: int, gid: int, mode: int) -> None:
    """Write a file nobody reads yet; it has its owner and mode before it has its name.

    Raises:
        StorageFull: the file system has no room.
        TokenFileFailed: anything else, a file of that name included.
    """
    # No volume may ask for a file of this name: attributes refuse what starts with "..".
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


def read(path: Path) -> bytes:
    """The content of a token file. Raises TokenFileFailed if it cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return os.pread(fd, os.fstat(fd).st_size, 0)
        finally:
            os.close(fd)
    except OSError as error:
        raise as_driver_error(path, error) from error


def rewrite(path: Path, content: bytes, *, leased: bool = True) -> RewriteResult:
    """Replace the content of a file that others read, keeping its inode, owner and mode.

    Equal bytes touch nothing: eosxd takes a new mtime for a new login. BUSY means that somebody
    has the file open, and touches nothing either; the caller tries again. With `leased=False` the
    bytes are written although readers may see them half-way, the last resort when the old token is
    about to expire.

    Raises:
        StorageFull: there is no room; the old content is untouched.
        TokenFileFailed: the file cannot be opened or written.
    """
    try:
        # O_NONBLOCK: a reader that owns the file may hold a lease of its own and must not stop us.
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except BlockingIOError:
        return RewriteResult.BUSY
    except OSError as error:
        raise as_driver_error(path, error) from error
    try:
        return _rewrite_open(fd, content, leased=leased)
    except OSError as error:
        raise as_driver_error(path, error) from error
    finally:
        os.close(fd)


def erase(path: Path) -> None:
    """Empty and remove a token file; fine if it is gone. Raises TokenFileFailed."""
    try:
        with contextlib.suppress(BlockingIOError):
            # As in rewrite(): somebody else's lease must not hold up an unpublish.
            fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                os.ftruncate(fd, 0)
            finally:
                os.close(fd)
        path.unlink()
    except FileNotFoundError:
        return
    except OSError as error:
        raise as_driver_error(path, error) from error


def _rewrite_open(fd: int, content: bytes, *, leased: bool) -> RewriteResult:
    # Read whatever the sizes are: no page is to be swapped in again under the lease.
    if os.pread(fd, os.fstat(fd).st_size, 0) == content:
        return RewriteResult.UNCHANGED
    if leased:
        _fcntl(fd, _F_SETSIG, _SIGURG)
        return replace_under_lease(fd, content)
    with _write_calls(fd, content) as writing:
        ctypes.set_errno(0)
        if not call_chain(writing):
            raise _os_error(ctypes.get_errno())
    return RewriteResult.UNLEASED


def replace_under_lease(fd: int, content: bytes) -> RewriteResult:
    """Take the lease, write, release, all without running Python code in between."""
    take = (partial(_fcntl, fd, _F_SETLEASE, _F_WRLCK), 0)
    release = (partial(_fcntl, fd, _F_SETLEASE, _F_UNLCK), 0)
    with _write_calls(fd, content) as writing:
        ctypes.set_errno(0)
        if call_chain([take, *writing, release]):
            return RewriteResult.LEASED
        number = ctypes.get_errno()
        # Taking failed, and this changes nothing; or a write fell short, and nobody may wait.
        release[0]()
    if number in (errno.EAGAIN, errno.EBUSY):
        return RewriteResult.BUSY
    raise _os_error(number)


def call_chain(calls: list[_Call]) -> bool:
    """Call in order while results are as expected; a chain of C iterators, no bytecode between."""
    functions, expected = zip(*calls, strict=True)
    return all(map(eq, map(call, functions), expected))


def _os_error(number: int) -> OSError:
    """Turn an errno into an error; without one a write fell short."""
    return OSError(number or errno.EIO, os.strerror(number or errno.EIO))


def _reserve_calls(fd: int, length: int) -> list[_Call]:
    """Reserve the pages that a file still lacks: a call to make, or none.

    Without it a write on a full tmpfs stops in the middle of a token. It keeps the size, or readers
    would see zeros behind the old bytes. Once it succeeds mtime and ctime have moved: so it belongs
    under the lease.
    """
    if length <= os.fstat(fd).st_blocks * _BLOCK:
        return []
    return [(partial(_fallocate, fd, _FALLOC_FL_KEEP_SIZE, 0, length), 0)]


@contextlib.contextmanager
def _write_calls(fd: int, content: bytes) -> Iterator[list[_Call]]:
    """The calls that replace the content, no matter after which one a SIGKILL comes."""
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
    with mmap.mmap(-1, length) as reserved, os.fdopen(os.memfd_create("token"), "w+b", 0) as source:
        source.write(padded)
        address = ctypes.addressof(ctypes.c_char.from_buffer(reserved))
        yield [
            *reserve,
            (partial(_pwrite, fd, newlines, len(newlines), size), len(newlines)),
            (partial(_mmap, address, length, _WRITABLE, _OVER_RESERVED, fd, 0), address),
            (partial(_pread, source.fileno(), address, length, 0), length),
            cut,
        ]


def as_driver_error(path: Path, error: OSError) -> DriverError:
    """Our error for what the token file system answered."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull("the token file system of this node is full; raise --tmpfs-size")
    return TokenFileFailed(f"token file {path}: {os.strerror(error.errno or errno.EIO)}")
