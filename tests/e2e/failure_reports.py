"""Reports of failed tests: objects, events, descriptions and logs, in a folder for each."""

from collections.abc import Generator
from pathlib import Path

import pytest

from tests.e2e.cluster import CLUSTER, Cluster

# Secrets are described, which shows the length of their data only.
_VIEWS = {
    "objects": ("get", "all,csidrivers,csinodes,pdb,networkpolicies", "-A", "--output=wide"),
    "events": ("get", "events", "-A", "--sort-by=.lastTimestamp"),
    "pods": ("describe", "pods", "-A"),
    "nodes": ("describe", "nodes"),
}


class FailureReportPlugin:
    """Gives the cluster to the fixtures of conftest.py, and writes a report after a failure."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self._cluster = cluster
        self._folder = folder

    def pytest_configure(self, config: pytest.Config) -> None:
        config.stash[CLUSTER] = self._cluster

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if report.failed:
            folder = self._folder / item.name
            collect(self._cluster, folder)
            report.sections.append(("what the cluster looked like", str(folder)))
        return report


def collect(cluster: Cluster, folder: Path) -> None:
    """Write what helps to understand a failure; never fails itself."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, arguments in _VIEWS.items():
        done = cluster.admin.attempt(*arguments)
        (folder / f"{name}.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
    if cluster.machine is None:
        return
    for node in cluster.machine.nodes:
        (folder / f"mountinfo-{node.name}.txt").write_text(node.mountinfo(), encoding="utf-8")
        # Of containers that ended, too, as long as kubelet keeps them.
        for log in node.path("/var/log/pods").glob("*/*/*.log"):
            pod, container, number = log.parts[-3:]
            target = folder / "pods" / f"{pod}_{container}_{number}"
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(log.read_bytes())
