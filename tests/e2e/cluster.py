"""The cluster that tests use, and how pytest gets it."""

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.cluster.controlplane import ControlPlane
from tests.e2e.node import Node
from tools.programs import find

Found = TypeVar("Found")
Manifest = dict[str, Any]


class Cluster:
    """kubectl and helm as administrator; `node` and `plane` are what they talk to.

    `image` is the name of the project's image, which the node has; `archive` is where it came from.
    """

    def __init__(self, plane: ControlPlane, node: Node, image: str, archive: Path) -> None:
        self.plane = plane
        self.node = node
        self.image = image
        self.archive = archive

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        """Run kubectl; what it printed."""
        return self.plane.kubectl(*arguments, stdin=stdin)

    def get(self, *arguments: str) -> Any:
        """`kubectl get` as JSON."""
        return json.loads(self.kubectl("get", *arguments, "--output=json"))

    def names(self, *arguments: str) -> list[str]:
        """`kubectl get` as kind/name."""
        return self.kubectl("get", *arguments, "--output=name", "--ignore-not-found").split()

    def apply(self, *manifests: Manifest) -> None:
        """Apply objects."""
        items = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        self.kubectl("apply", "--filename=-", stdin=json.dumps(items))

    def roll_out(self, *workloads: str, seconds: float = 120) -> None:
        """Wait until workloads of the driver namespace have all their pods ready."""
        for workload in workloads:
            self.kubectl(
                *("rollout", "status", workload, "--namespace=oauth2-csi"), f"--timeout={seconds}s"
            )

    def helm(self, *arguments: str) -> str:
        """Run helm; what it printed."""
        program = find("helm")
        assert program is not None, "helm is missing: make tools"
        home = self.plane.root / "helm"  # what it caches goes with the cluster
        places = {f"HELM_{name}_HOME": str(home) for name in ("CACHE", "CONFIG", "DATA")}
        environment = os.environ | places | {"KUBECONFIG": str(self.plane.kubeconfig)}
        done = subprocess.run(  # noqa: S603 - a program of ours
            [program, *arguments], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"helm {' '.join(arguments)}: {done.stderr}"
        return done.stdout


def until(
    what: str, check: Callable[[], Found], seconds: float = 60, every: float = 0.3
) -> Found:
    """Wait until `check` returns something true, and return that."""
    deadline = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(every)
    return found



CLUSTER = pytest.StashKey[Cluster]()
