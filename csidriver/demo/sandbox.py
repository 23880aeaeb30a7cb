"""A private mount namespace, so that mounts are not visible outside and disappear with it.

An ordinary user also gets a user namespace with root rights over their own files. Call `enter`
before any thread exists (user_namespaces(7)).
"""

import ctypes
import os
import signal
from pathlib import Path

from csidriver.adapters.mounts import Mounts
from csidriver.errors import DriverError

# <linux/sched.h>, <linux/prctl.h>
_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWPID = 0x20000000
_PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


class SandboxUnavailable(DriverError):
    """This machine allows neither mounts nor user namespaces."""


def enter(*, with_children: bool = False) -> None:
    """Move this process into a new mount namespace, or raise SandboxUnavailable.

    `with_children` puts its next child into a new process namespace. That child is process 1 there:
    when it ends, the kernel ends all its descendants (pid_namespaces(7)).
    """
    uid, gid = os.getuid(), os.getgid()
    flags = _CLONE_NEWNS | (_CLONE_NEWPID if with_children else 0)
    if not (uid == 0 and _unshare(flags)):
        if not _unshare(_CLONE_NEWUSER | flags):
            raise SandboxUnavailable(
                "cannot make a mount namespace: run as root, or allow unprivileged user "
                "namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone)"
            )
        try:
            Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
            Path("/proc/self/uid_map").write_text(f"0 {uid} 1", encoding="ascii")
            Path("/proc/self/gid_map").write_text(f"0 {gid} 1", encoding="ascii")
        except OSError as error:
            raise SandboxUnavailable(
                "user namespaces are restricted here: run as root, or allow them "
                "(sysctl kernel.apparmor_restrict_unprivileged_userns=0)"
            ) from error
    Mounts().make_private(Path("/"))


def die_with_parent() -> None:
    """Let the kernel kill this process when its parent dies (prctl(2))."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _unshare(flags: int) -> bool:
    return bool(_libc.unshare(flags) == 0)
