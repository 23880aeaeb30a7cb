"""Where a bench runs: mount and process namespaces of its own, which take everything with them."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from csidriver.adapters.mounts import Mounts
from csidriver.adapters.signals import STOP_SIGNALS
from csidriver.demo import sandbox
from csidriver.errors import DriverError

# A memory of our own behind the name everybody uses for it: etcd's data, kubelet's folder.
MEMORY = Path("/dev/shm")  # noqa: S108 - ours alone, see `run`
INTERRUPTED = 130


def run(work: Callable[[], int]) -> int:
    """Do the work in a child that is process 1 of its namespaces; its exit status.

    A signal that ends us kills the child, and with it all its processes and mounts. No folder is
    left because none is made: all of them lie in `MEMORY`. Raises SandboxRefused.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    sandbox.enter(with_children=True)
    Mounts().mount_tmpfs(MEMORY, size=2 << 30, inodes=1 << 18)
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        _work(work)
    ended = []

    def kill(number: int, _frame: object) -> None:
        ended.append(number)
        os.kill(child, signal.SIGKILL)

    for number in STOP_SIGNALS:
        signal.signal(number, kill)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if ended:
        return INTERRUPTED
    return status if status >= 0 else 1


def _work(work: Callable[[], int]) -> None:
    """Never returns: the stack above belongs to the parent."""
    status = 1
    try:
        sandbox.die_with_parent()
        # Process ids as they are here, for those who look into /proc.
        subprocess.run(["mount", "-t", "proc", "proc", "/proc"], check=True)  # noqa: S607
        status = work()
    except DriverError as error:
        print(f"bench: {error}", file=sys.stderr)
    except BaseException:  # noqa: BLE001 - shown here, and then this process is over
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
