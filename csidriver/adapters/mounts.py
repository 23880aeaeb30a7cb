"""mount(2) and umount2(2), called directly: forking mount(8) costs more than a whole publish."""

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
    """The mounts of this process's mount namespace. Every refusal is a MountFailed."""

    def table(self) -> list[Mount]:
        """All mounts, in the order in which they were made."""
        with Path("/proc/self/mountinfo").open(encoding="utf-8", errors="surrogateescape") as lines:
            return list(parse(lines))

    def bind(self, source: Path, target: Path) -> None:
        """Show a directory or file at a second place, with the flags of the mount it lies on."""
        _mount(str(source), target, "", _BIND, "")

    def bind_read_only(self, source: Path, target: Path) -> None:
        """Show a directory at a place of our own that shares nothing with its parent, read-only."""
        self.bind(source, target)
        _mount("", target, "", _PRIVATE, "")
        _mount("", target, "", _REMOUNT | _BIND | _RDONLY | _NOSUID | _NODEV | _NOEXEC, "")

    def mount_tmpfs(self, target: Path, *, size: int, inodes: int, context: str = "") -> None:
        """Mount a file system in memory that only root may enter, kept out of swap where possible.

        Args:
            target: an existing directory.
            size: bytes that its files may take.
            inodes: how many files and directories it may hold.
            context: SELinux label of its files, "" for none.
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
        """Make a mount of a directory on itself whose inner mounts propagate."""
        self.bind(target, target)
        _mount("", target, "", _SHARED, "")

    def make_private(self, target: Path) -> None:
        """Stop propagation to and from a mount and everything below it."""
        _mount("", target, "", _PRIVATE | _REC, "")

    def unmount(self, target: Path) -> bool:
        """Take away the topmost mount; False if there is none. Never follows a symlink."""
        if _libc.umount2(os.fsencode(target), _DETACH | _NOFOLLOW) == 0:
            return True
        number = ctypes.get_errno()
        if number in (errno.EINVAL, errno.ENOENT, errno.ENOTDIR):
            return False
        raise MountFailed("umount", str(target), os.strerror(number))


def _mount(source: str, target: Path, fstype: str, flags: int, options: str) -> None:
    done = _libc.mount(
        os.fsencode(source), os.fsencode(target), fstype.encode(), flags, options.encode()
    )
    if done != 0:
        raise MountFailed("mount", str(target), os.strerror(ctypes.get_errno()))
