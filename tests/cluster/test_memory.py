"""The memory that one more companion costs: a thread, a watch, a TLS connection."""

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
MOST = 160  # KiB for each; 108 with CPython 3.11 and OpenSSL 3 on x86-64


def test_a_companion_more_costs_little_memory(control_plane: ControlPlane, tmp_path: Path) -> None:
    role = NodeRole(control_plane, tmp_path)
    for number in range(MANY):
        ref = watch_memory.ref(number)
        role.write_companion(companion(token("x" * 1500), source=ref), ref)
    command = [sys.executable, "-m", "tests.cluster.watch_memory", role.kubeconfig(), FEW, MANY]
    done = subprocess.run(  # noqa: S603 - a program of ours
        list(map(str, command)), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    few, many = map(int, done.stdout.split())
    assert (many - few) / (MANY - FEW) <= MOST
