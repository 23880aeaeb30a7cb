"""A program that follows companions at a broker and prints the memory that this takes.

Its arguments are the port, the authorities, the plugin's token, name and uid of a pod, and growing
numbers of companions; it prints KiB for each number.
"""

import re
import sys
import threading
from pathlib import Path

from prometheus_client import CollectorRegistry

from csidriver.adapters.clock import SystemClock
from csidriver.core.broker.pod_access import PodRef
from csidriver.core.names import SourceRef
from csidriver.core.volume.readiness import ObservedCompanion
from csidriver.node.companion_watcher import CompanionWatcher
from csidriver.node.companions.broker_address import BrokerAddress
from csidriver.node.companions.broker_client import BrokerClient
from csidriver.node.metrics import NodeMetrics

ADDRESS = "127.0.0.1"
TIMEOUT = 30.0
NAMESPACE = "alice-of-memory"


def ref(number: int) -> SourceRef:
    return SourceRef(NAMESPACE, f"hello-{number}")


def main(address: BrokerAddress, pod: PodRef, counts: list[int]) -> None:
    watched = threading.Semaphore(0)
    metrics = NodeMetrics(CollectorRegistry())
    client = BrokerClient(address, SystemClock())
    client.start()
    follower = CompanionWatcher(client, lambda _: watched.release(), SystemClock(), metrics)
    followed = 0
    for count in counts:
        for number in range(followed, count):
            follower.follow(ref(number), pod, f"volume-{number}")
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
    port, authorities, token, name, uid, *numbers = sys.argv[1:]
    main(
        BrokerAddress(ADDRESS, int(port), Path(authorities), Path(token)),
        PodRef(NAMESPACE, name, uid),
        [int(number) for number in numbers],
    )
