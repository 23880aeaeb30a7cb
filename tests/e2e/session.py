"""The program inside the machine: starts the cluster, then runs the tests."""

import argparse
import sys
import time
from pathlib import Path

import pytest

from tests.cluster.controlplane import ControlPlane
from tests.e2e import controllers
from tests.e2e.cluster import Cluster, Machine
from tests.e2e.configuration import ADDRESS, NAME
from tests.e2e.failure_reports import FailureReportPlugin
from tests.e2e.node import USERS, Node

_API_FLAGS = (
    "--allow-privileged=true",
    # Webhooks are called at the address of their pod.
    "--enable-aggregator-routing=true",
    "--enable-admission-plugins=NodeRestriction",
    "--endpoint-reconciler-type=lease",
    "--kubelet-preferred-address-types=InternalIP",
)


def main() -> int:
    """Bring up a cluster and run pytest on it; its exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--memory", type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--logs", type=Path, required=True)
    parser.add_argument("--image", required=True)
    parser.add_argument("--archive", type=Path, action="append", required=True)
    flags, rest = parser.parse_known_args()
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"* {time.monotonic() - began:4.0f} s  {text}", flush=True)

    plane = ControlPlane(
        _API_FLAGS, address=ADDRESS, users=USERS | controllers.USERS, folder=flags.memory
    )
    node = Node(plane, flags.name, flags.logs)
    node.prepare()
    say("containerd, with the images")
    node.start_runtime(*flags.archive)
    say("the control plane")
    plane.start()
    controllers.start(plane)
    say(f"kubelet of {NAME}")
    node.start()
    machine = Machine(plane, node, flags.archive[-1])
    cluster = Cluster(plane.admin, flags.image, machine)
    # Without it nobody can make a pod.
    cluster.kubectl("wait", "--for=create", "serviceaccount/default", "--timeout=60s")
    say("the tests")
    return int(
        pytest.main(["-p", "no:xdist", *rest], plugins=[FailureReportPlugin(cluster, flags.logs)])
    )


if __name__ == "__main__":
    sys.exit(main())
