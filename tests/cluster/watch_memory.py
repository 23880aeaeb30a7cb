"""A program that watches companions and prints the memory that this takes.

Its arguments are a kubeconfig and growing numbers of companions; it prints KiB for each number.
"""

import re
import sys
import threading
from pathlib import Path

from prometheus_client import CollectorRegistry

from csidriver.adapters.clock import SystemClock
from csidriver.adapters.rest import RestStore, kubeconfig
from csidriver.core.broker.pod_access import PodRef
from csidriver.core.names import SourceRef
from csidriver.core.volume.readiness import ObservedCompanion
from csidriver.node.companion_watcher import CompanionWatcher
from csidriver.node.companions.secret_watches import SecretWatches
from csidriver.node.metrics import NodeMetrics
from tests.cluster.noderole import TOKENS

TIMEOUT = 30.0
POD = PodRef("alice-of-memory", "pod", "uid")


def ref(number: int) -> SourceRef:
    return SourceRef("alice-of-memory", f"hello-{number}")


def main(config: Path, counts: list[int]) -> None:
    watched = threading.Semaphore(0)
    store = RestStore(kubeconfig(config))
    metrics = NodeMetrics(CollectorRegistry())
    watches = SecretWatches(store, TOKENS, SystemClock(), metrics)
    follower = CompanionWatcher(watches, lambda _: watched.release(), SystemClock(), metrics)
    followed = 0
    for count in counts:
        for number in range(followed, count):
            follower.follow(ref(number), POD, f"volume-{number}")
        for _ in range(followed, count):
            assert watched.acquire(timeout=TIMEOUT)
        assert all(is_present(follower.latest(ref(number))) for number in range(count))
        followed = count
        print(resident_kib())  # noqa: T201 - what the parent reads


def is_present(observed: ObservedCompanion) -> bool:
    return observed.companion is not None and observed.error is None


def resident_kib() -> int:
    found = re.search(r"VmRSS:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1])


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(count) for count in sys.argv[2:]])
