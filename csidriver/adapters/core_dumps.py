"""Core dumps, and other views of a process's memory, which would contain tokens."""

import ctypes
import resource

_PR_SET_DUMPABLE = 4


def forbid() -> None:
    """Let this process dump no core, and only root read its memory (prctl(2), PR_SET_DUMPABLE)."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_DUMPABLE)")
