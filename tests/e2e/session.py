"""The program inside the machine: starts the cluster of two nodes, then runs the tests."""

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.cluster.controlplane import ControlPlane
from tests.e2e import controllers
from tests.e2e.addresses import MACHINE, SERVICES, NodeAddresses
from tests.e2e.cluster import Cluster, Machine
from tests.e2e.failure_reports import FailureReportPlugin
from tests.e2e.network import Network
from tests.e2e.node import Node, Surroundings

_NODES = (NodeAddresses(1), NodeAddresses(2))
_API_FLAGS = (
    f"--service-cluster-ip-range={','.join(SERVICES)}",
    "--allow-privileged=true",
    # Webhooks are called at the address of their pod.
    "--enable-aggregator-routing=true",
    "--enable-admission-plugins=NodeRestriction",
    "--endpoint-reconciler-type=lease",
    "--kubelet-preferred-address-types=InternalIP",
)


def main() -> int:
    parser = argparse.ArgumentParser()
    for name in ("root", "disk", "memory", "logs"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    for name in ("name", "image"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--archive", type=Path, action="append", required=True)
    flags, rest = parser.parse_known_args()
    machine = start(flags)
    cluster = Cluster(machine.plane.admin, flags.image, machine)
    # Without it nobody can make a pod.
    cluster.kubectl("wait", "--for=create", "serviceaccount/default", "--timeout=60s")
    return int(
        pytest.main(["-p", "no:xdist", *rest], plugins=[FailureReportPlugin(cluster, flags.logs)])
    )


def start(flags: argparse.Namespace) -> Machine:
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"* {time.monotonic() - began:4.0f} s  {text}", flush=True)

    users = [Node.users(addresses) for addresses in _NODES] + [controllers.USERS]
    plane = ControlPlane(
        _API_FLAGS,
        address=MACHINE[0],
        users={name: group for part in users for name, group in part.items()},
        folder=flags.memory,
    )
    network = Network(flags.root)
    network.start()
    shared = Surroundings(
        plane, network, flags.root, flags.name, flags.disk, flags.memory, flags.logs
    )
    nodes = [Node(addresses, shared) for addresses in _NODES]
    say("containerd on each node")
    for node in nodes:
        node.prepare(flags.archive)
        node.start_runtime()
    with ThreadPoolExecutor() as pool:
        imports = [pool.submit(node.import_images, flags.archive) for node in nodes]
        say("the control plane")
        plane.start()
        controllers.start(plane)
        for done in imports:
            done.result()
    say("kubelet on each node, which has the images")
    for node in nodes:
        node.start()
    for node in nodes:
        node.wait_until_ready()
    say("the tests")
    return Machine(plane, tuple(nodes), flags.disk / "before")


if __name__ == "__main__":
    sys.exit(main())
