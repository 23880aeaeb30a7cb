"""The cluster that tests use, ours or another; and how pytest gets it."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.controlplane import ControlPlane
from tests.e2e.node import Node


class Cluster:
    """kubectl, and what only our own machine allows: `node` and `plane`."""

    def __init__(self, plane: ControlPlane, node: Node, image: str, logs: Path) -> None:
        self.plane = plane
        self.node = node
        self.image = image
        self.logs = logs

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        """Run kubectl as administrator; what it printed."""
        return self.plane.kubectl(*arguments, stdin=stdin)

    def get(self, *arguments: str) -> Any:
        """`kubectl get` as JSON."""
        return json.loads(self.kubectl("get", *arguments, "--output=json"))


CLUSTER = pytest.StashKey[Cluster]()


class ClusterPlugin:
    """Hands the cluster to the fixtures of conftest.py."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def pytest_configure(self, config: pytest.Config) -> None:
        """Called by pytest."""
        config.stash[CLUSTER] = self._cluster
