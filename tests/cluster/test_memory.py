"""The memory that one more companion costs a node."""

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster import watch_memory
from tests.cluster.controlplane import ControlPlane
from tests.cluster.noderole import NodeRole
from tests.node.plugin import companion, token

pytestmark = pytest.mark.tools("etcd", "kube-apiserver", "kubectl")

ROOT = Path(__file__).parents[2]
FEW, MANY = 20, 120
MOST = 20  # KiB for each


def test_a_companion_more_costs_little_memory(control_plane: ControlPlane, tmp_path: Path) -> None:
    with contextlib.closing(NodeRole(control_plane, tmp_path)) as role:
        refs = [watch_memory.ref(number) for number in range(MANY)]
        for ref in refs:
            role.write_companion(companion(token("x" * 1500), source=ref), ref)
        pod = role.create_pod(refs[0].namespace, *(ref.name for ref in refs))
        address = role.address
        files = address.authorities, address.token
        program = ["-m", watch_memory.__name__, address.port, *files, pod.name, pod.uid, FEW, MANY]
        done = subprocess.run(  # noqa: S603 - a program of ours
            [sys.executable, *map(str, program)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    few, many = map(int, done.stdout.split())
    assert (many - few) / (MANY - FEW) <= MOST
