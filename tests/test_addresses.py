"""Roles, and the announcement's example, on a host without IPv4."""

import json
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from csidriver.adapters.mounts import Mounts
from csidriver.demo.kubelet import Kubelet
from tests.network_namespace import IPV6_ONLY, on
from tests.processes import page_at, running, served_at
from tests.refresher.bench import until

pytestmark = pytest.mark.mounts


def serves(log: Path) -> bool:
    """Ask as kubelet and Prometheus do; return whether the role is ready at every address."""
    pages = {"healthz": "health", "readyz": "health", "metrics": "metrics"}
    ports = {page: served_at(log, what).rpartition(":")[2] for page, what in pages.items()}
    return all(
        page_at(f"http://[{address}]:{port}", page)[0] == 200
        for address in IPV6_ONLY.addresses
        for page, port in ports.items()
    )


def test_roles_are_reached_at_every_address_of_the_pod() -> None:
    # A short one: the path of a socket has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="a", dir="/tmp") as folder:
        issuers, root = Path(folder, "issuers.yaml"), Path(folder, "k")
        issuers.write_text("issuers: []", encoding="utf-8")
        kubelet = Kubelet(root, Mounts(), "default")
        kubelet.prepare()
        store = ["--store", f"dir:{folder}/store", "--listen", ":0"]
        of_node = ["--kubelet-dir", str(root), "--view-dir", f"{folder}/v"]

        def serve() -> None:
            with (
                running("refresher", *store, "--issuers", str(issuers)) as (_, refresher),
                running("node", *store, *of_node) as (node, node_log),
            ):
                until(lambda: serves(refresher))
                kubelet.register(threading.Event(), 20, lambda: None)
                until(lambda: serves(node_log))
                node.terminate()
                assert node.wait(20) == 0

        try:
            on(IPV6_ONLY, serve)
        finally:
            for mount in reversed(Mounts().table()):
                if Path(mount.target).is_relative_to(folder):
                    Mounts().unmount(Path(mount.target))


def test_the_announcements_example_runs_without_ipv4() -> None:
    command = [sys.executable, "-m", "csidriver", "demo", "--json", "--seconds", "4"]
    done = on(
        IPV6_ONLY,
        lambda: subprocess.run(  # noqa: S603 - our own command
            [*command, "--lifetime", "4"], capture_output=True, text=True, timeout=60, check=False
        ),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["reads"] > 0
    assert result["rewrites"] >= 1
    assert "http://[::1]:" in done.stdout
