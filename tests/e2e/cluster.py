"""The cluster that tests use, and how pytest gets it."""

import json
import os
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import waiting
from tests.cluster.controlplane import ControlPlane
from tests.cluster.kubectl import Kubectl
from tests.e2e.node import Node
from tools.programs import program

Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Machine:
    """The parts that only our own cluster has.

    `before` is the tree of the commit E2E_BEFORE, if there is one.
    """

    plane: ControlPlane
    nodes: tuple[Node, ...]
    before: Path

    @property
    def node_names(self) -> list[str]:
        return [node.name for node in self.nodes]

    def node(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)


class Cluster:
    """kubectl and helm as administrator.

    `image` is the name of the project's image, which nodes have.
    """

    def __init__(self, admin: Kubectl, image: str, machine: Machine | None = None) -> None:
        self.admin = admin
        self.image = image
        self.machine = machine

    @property
    def own(self) -> Machine:
        """Our machine; a test that asks for it is skipped on another cluster."""
        if self.machine is None:
            pytest.skip("not on an existing cluster: needs its nodes and control plane")
        return self.machine

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        return self.admin.run(*arguments, stdin=stdin)

    def get(self, *arguments: str) -> Any:
        return json.loads(self.kubectl("get", *arguments, "--output=json"))

    def names(self, *arguments: str) -> list[str]:
        """`kubectl get` as kind/name."""
        return self.kubectl("get", *arguments, "--output=name", "--ignore-not-found").split()

    def apply(self, *manifests: Manifest) -> None:
        items = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        self.kubectl("apply", "--filename=-", stdin=json.dumps(items))

    def roll_out(self, *workloads: str, seconds: float = 120) -> None:
        for workload in workloads:
            self.kubectl(
                *("rollout", "status", workload, "--namespace=oauth2-csi"), f"--timeout={seconds}s"
            )

    def helm(self, *arguments: str) -> str:
        with tempfile.TemporaryDirectory() as folder:
            helm_folders = {f"HELM_{name}_HOME": folder for name in ("CACHE", "CONFIG", "DATA")}
            environment = os.environ | helm_folders | {"KUBECONFIG": str(self.admin.kubeconfig)}
            done = subprocess.run(  # noqa: S603 - a program of ours
                [program("helm"), *arguments],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
        assert done.returncode == 0, f"helm {' '.join(arguments)}: {done.stderr}"
        return done.stdout


def until(description: str, check: Callable[[], Any], seconds: float = 60) -> Any:
    return waiting.until(check, description, seconds, pause=0.3)


CLUSTER = pytest.StashKey[Cluster]()
