"""mount(2) and umount2(2), called directly because running mount(8) takes longer than a publish."""

import ctypes
import errno
import os
from pathlib import Path

from csidriver.core.volume.mountinfo import Mount, parse
from csidriver.errors import MountFailed

# <linux/mount.h>
_RDONLY, _NOSUID, _NODEV, _NOEXEC = 1, 2, 4, 8
_REMOUNT, _BIND, _REC, _PRIVATE, _SHARED = 32, 4096, 16384, 1 << 18, 1 << 20
_DETACH, _NOFOLLOW = 2, 8
# <linux/mount.h> and <asm-generic/unistd.h>; older C libraries have no functions for these.
_OPEN_TREE, _MOVE_MOUNT, _AT_FDCWD = 428, 429, -100
_OPEN_TREE_CLONE, _MOVE_MOUNT_F_EMPTY_PATH = 1, 4

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_ulong,
    ctypes.c_char_p,
)
_libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)


class Mounts:
    """The mounts of this process's mount namespace; every method may raise MountFailed."""

    def table(self) -> list[Mount]:
        """Return all mounts, in the order in which they were made."""
        with Path("/proc/self/mountinfo").open(encoding="utf-8", errors="surrogateescape") as lines:
            return list(parse(lines))

    def bind(self, source: Path, target: Path) -> None:
        """Bind a directory or file to a second path, with the flags of its mount."""
        _mount(str(source), target, "", _BIND, "")

    def bind_read_only(self, source: Path, target: Path) -> None:
        """Bind a directory read-only to a second path, without propagation."""
        self.bind(source, target)
        _mount("", target, "", _PRIVATE, "")
        _mount("", target, "", _REMOUNT | _BIND | _RDONLY | _NOSUID | _NODEV | _NOEXEC, "")

    def clone(self, source: Path) -> int:
        """Return a descriptor of a second mount of a directory, which has no path (open_tree(2)).

        It lasts, with its file system, until the descriptor is closed.
        """
        flags = _OPEN_TREE_CLONE | os.O_CLOEXEC
        descriptor = int(_libc.syscall(_OPEN_TREE, _AT_FDCWD, os.fsencode(source), flags))
        if descriptor < 0:
            raise MountFailed("open_tree", str(source), os.strerror(ctypes.get_errno()))
        return descriptor

    def attach(self, clone: int, target: Path) -> None:
        """Mount on a directory what `clone` has returned (move_mount(2))."""
        path, flags = os.fsencode(target), _MOVE_MOUNT_F_EMPTY_PATH
        if _libc.syscall(_MOVE_MOUNT, clone, b"", _AT_FDCWD, path, flags) != 0:
            raise MountFailed("move_mount", str(target), os.strerror(ctypes.get_errno()))

    def make_writable(self, target: Path) -> None:
        """Allow writes to the file system that is mounted on a directory."""
        _mount("", target, "", _REMOUNT | _NOSUID | _NODEV | _NOEXEC, "")

    def mount_tmpfs(self, target: Path, *, size: int, inodes: int, context: str = "") -> None:
        """Mount a tmpfs that only root may enter, without swap where possible.

        It has room for `size` bytes and `inodes` files; `context` is their SELinux label, or "".
        """
        options = f"mode=0700,size={size},nr_inodes={inodes}"
        if context:
            options += f',context="{context}"'
        flags = _NOSUID | _NODEV | _NOEXEC
        try:
            _mount("tmpfs", target, "tmpfs", flags, f"{options},noswap")
        except MountFailed:  # kernels before 6.3, and user namespaces
            _mount("tmpfs", target, "tmpfs", flags, options)

    def share(self, target: Path) -> None:
        """Bind a directory to itself, so that mounts below it propagate."""
        self.bind(target, target)
        _mount("", target, "", _SHARED, "")

    def make_private(self, target: Path) -> None:
        """Stop propagation to and from a mount and everything below it."""
        _mount("", target, "", _PRIVATE | _REC, "")

    def unmount(self, target: Path) -> bool:
        """Unmount the topmost mount, following no symlink; return False if there is none."""
        if _libc.umount2(os.fsencode(target), _DETACH | _NOFOLLOW) == 0:
            return True
        number = ctypes.get_errno()
        if number in (errno.EINVAL, errno.ENOENT, errno.ENOTDIR):
            return False
        raise MountFailed("umount", str(target), os.strerror(number))


def _mount(source: str, target: Path, fstype: str, flags: int, options: str) -> None:
    result = _libc.mount(
        os.fsencode(source), os.fsencode(target), fstype.encode(), flags, options.encode()
    )
    if result != 0:
        raise MountFailed("mount", str(target), os.strerror(ctypes.get_errno()))
