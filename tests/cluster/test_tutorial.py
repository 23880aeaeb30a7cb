"""The tutorial without nodes, on a real API server; `make e2e` types all of it."""

import re
import sys
from pathlib import Path

import pytest

from csidriver.demo.issuer import DEMO_CLIENT, LOGIN_CLIENT, StrictIssuer
from tests.cluster.cluster import Cluster
from tests.cluster.controlplane import PROGRAMS
from tests.cluster.login_bench import LoginBench
from tests.page_commands import Command, Reader, commands
from tests.tutorial import PAGE, type_command
from tools.programs import program

pytestmark = pytest.mark.tools(*PROGRAMS)
NS = "tutorial"
# What needs a node: the driver's installation, its image, and a pod.
NODES = re.compile(
    "rollout|exec|wait|port-forward|doctor|csi-volume|deploy/.*[.]yaml|build|namespace "
)
COMMAND_LINE = '#!/bin/sh\nexec {python} -m csidriver.kubectl "$@"\n'


def without_pods(command: Command) -> Command:
    """Return a command whose output mentions no pod."""
    shown = re.sub(r"\n\.\.\.\n  Pod.*\n\.\.\.\n", "\n...\n", command.output, flags=re.DOTALL)
    return Command(command.line, shown)


def test_a_login_rotates_breaks_and_is_mended(cluster: Cluster, tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_bytes(cluster.plane.admin.kubeconfig.read_bytes())
    program_file = tmp_path / "kubectl-oauth2_csi"
    program_file.write_text(COMMAND_LINE.format(python=sys.executable))
    program_file.chmod(0o755)
    reader = Reader(kubeconfig, tmp_path, program("kubectl").parent)
    typed = []
    with StrictIssuer(clients=[DEMO_CLIENT, LOGIN_CLIENT]) as server:
        issuer = {"name": "demo", "issuer": server.url, "internal": True, "default": True}
        login = {"login": {"clientID": LOGIN_CLIENT.client_id, "scopes": ["offline_access"]}}
        with LoginBench(cluster, tmp_path, NS, issuer | login):
            for command in commands(PAGE):
                if not NODES.search(command.line):
                    type_command(reader, without_pods(command))
                    typed.append(command.line)
    assert len([line for line in typed if "oauth2-csi login" in line]) == 2
    assert len(typed) > 7
