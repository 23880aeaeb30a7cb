"""The limit of open files, which a process raises at its start as Go programs do."""

import contextlib
import resource


def raise_limit() -> None:
    """Raise the soft limit, which is for programs that use select(2), to the hard one."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
