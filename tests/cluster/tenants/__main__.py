"""A hostile tenant, whose victim must not notice him; `make soak` runs this.

`python -m tests.cluster.tenants [SECONDS]` attacks a refresher for so long, then a node. It prints
what it measures, and ends with 1 if something is wrong.
"""

import contextlib
import math
import os
import sys
import tempfile
from pathlib import Path

import pytest

from csidriver.demo import sandbox
from tests.cluster.cluster import Cluster
from tests.cluster.controlplane import ControlPlane
from tests.cluster.tenants.measuring import Report
from tests.cluster.tenants.node_run import NodeRun, NodeScale
from tests.cluster.tenants.refresher_run import RefresherRun, Scale

# The p99 of lateness in seconds, required of a machine with less load than this at the start.
MOST_LATE, IDLE = 2.0, 1.0


def attack(scale: Scale, report: Report) -> None:
    sandbox.enter()
    with contextlib.closing(ControlPlane()) as plane, tempfile.TemporaryDirectory() as folder:
        plane.start()
        with RefresherRun(Cluster(plane), Path(folder), scale) as refresher:
            refresher.run(report)
        with NodeRun(plane, Path(folder), NodeScale()) as node:
            node.run(report)


def main(scale: Scale) -> int:
    load = os.getloadavg()[0]
    report = Report(most_late=MOST_LATE if load < IDLE else math.inf)
    try:
        attack(scale, report)
    except (sandbox.SandboxUnavailable, pytest.skip.Exception) as reason:
        sys.stdout.write(f"skipped: {reason}\n")
        return 0
    finally:
        sys.stdout.write(f"{report}\n{os.cpu_count()} processors, load {load:.1f} at the start\n")
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main(Scale(seconds=float(sys.argv[1])) if len(sys.argv) > 1 else Scale()))
