"""Follows companions in a process of its own, and tells what memory that takes.

Arguments: a kubeconfig, and how many companions to follow, growing. Prints KiB for each.
"""

import re
import sys
import threading
from pathlib import Path

from csidriver.adapters.rest import RestStore, kubeconfig
from csidriver.core.names import SourceRef
from csidriver.core.volume.readiness import ObservedCompanion
from csidriver.node.companion_watcher import CompanionWatcher
from tests.cluster.noderole import TOKENS

PATIENCE = 30.0


def ref(number: int) -> SourceRef:
    return SourceRef("alice-of-memory", f"hello-{number}")


def main(config: Path, counts: list[int]) -> None:
    watched = threading.Semaphore(0)
    store = RestStore(kubeconfig(config))
    follower = CompanionWatcher(store, TOKENS, lambda _: watched.release())
    followed = 0
    for count in counts:
        for number in range(followed, count):
            follower.follow(ref(number), f"volume-{number}")
        for _ in range(followed, count):
            assert watched.acquire(timeout=PATIENCE)
        assert all(is_there(follower.latest(ref(number))) for number in range(count))
        followed = count
        print(resident())  # noqa: T201 - what the parent reads


def is_there(sighting: ObservedCompanion) -> bool:
    return sighting.companion is not None and sighting.error is None


def resident() -> int:
    found = re.search(r"VmRSS:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1])


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(count) for count in sys.argv[2:]])
