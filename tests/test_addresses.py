"""Every role, and the announcement's example, on hosts with IPv4, with IPv6, and with both."""

import contextlib
import json
import re
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from csidriver.adapters.mounts import Mounts
from csidriver.demo.kubelet import Kubelet
from csidriver.webhook.x509 import CertificateFactory
from tests.network_namespace import IPV4_ONLY, IPV6_ONLY, Host, on
from tests.processes import page_at, running, served_at
from tests.refresher.bench import until
from tests.webhook.served import Client

pytestmark = pytest.mark.mounts
REVIEWS = re.compile(r"admission reviews on port ([0-9]+)")
PKI = CertificateFactory()


def port_in(log: Path, pattern: re.Pattern[str]) -> int:
    return int(until(lambda: pattern.search(log.read_text(encoding="utf-8")))[1])


def in_url(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def serves(log: Path, *addresses: str) -> bool:
    """Ask as kubelet and Prometheus do; return whether the role is ready at every address."""
    pages = {"healthz": "health", "readyz": "health", "metrics": "metrics"}
    ports = {page: served_at(log, what).rpartition(":")[2] for page, what in pages.items()}
    return all(
        page_at(f"http://{in_url(address)}:{port}", page)[0] == 200
        for address in addresses
        for page, port in ports.items()
    )


def test_roles_are_reached_at_every_address_of_the_pod(
    host: Host, folder: Path, kubelet: Kubelet
) -> None:
    store, of_node, of_refresher = flags_in(folder, kubelet)

    def serve() -> None:
        with (
            running("refresher", *store, *of_refresher) as (_, refresher),
            running("node", *store, *of_node) as (node, node_log),
        ):
            until(lambda: serves(refresher, *host.addresses))
            kubelet.register(threading.Event(), 20, lambda: None)
            until(lambda: serves(node_log, *host.addresses))
            node.terminate()
            assert node.wait(20) == 0

    on(host, serve)


def test_the_webhook_is_reached_at_every_address_of_the_pod(host: Host, folder: Path) -> None:
    authority = PKI.new_authority(time.time(), 3600.0)
    trust = ssl.create_default_context(cadata=authority[0].pem)
    made, key = PKI.issue_serving_certificate(*authority, host.addresses, time.time(), 3600.0)
    (folder / "tls.crt").write_text(made.pem, encoding="ascii")
    (folder / "tls.key").write_text(key.reveal(), encoding="ascii")
    flags = ["--store", "kubernetes", "--listen", ":0", "--webhook-listen", ":0"]
    flags += ["--tls-cert-file", str(folder / "tls.crt"), "--tls-key-file", str(folder / "tls.key")]

    def serve() -> None:
        with running("webhook", *flags) as (_, log):
            until(lambda: serves(log, *host.addresses))
            port = port_in(log, REVIEWS)
            for address in host.addresses:
                connected = socket.create_connection((address, port), timeout=20)
                secure = trust.wrap_socket(connected, server_hostname=address)
                with contextlib.closing(Client(secure)) as client:
                    assert client.post()[1]["response"]["allowed"] is True

    on(host, serve)


def test_the_announcements_example_runs_without_ipv4() -> None:
    flags = ["--json", "--seconds", "4", "--lifetime", "4"]
    done = on(
        IPV6_ONLY,
        lambda: subprocess.run(  # noqa: S603 - our own command
            [sys.executable, "-m", "csidriver", "demo", *flags],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        ),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["reads"] > 0
    assert result["rewrites"] >= 1
    assert "http://[::1]:" in done.stdout


def flags_in(folder: Path, kubelet: Kubelet) -> tuple[list[str], list[str], list[str]]:
    """Return the flags of every role, and those of node and refresher."""
    issuers = folder / "issuers.yaml"
    issuers.write_text("issuers: []", encoding="utf-8")
    return (
        ["--store", f"dir:{folder}/store", "--listen", ":0"],
        ["--kubelet-dir", str(kubelet.root), "--view-dir", str(folder / "v")],
        ["--issuers", str(issuers)],
    )


@pytest.fixture
def kubelet(folder: Path) -> Iterator[Kubelet]:
    made = Kubelet(folder / "k", Mounts(), "default")
    made.prepare()
    yield made
    for mount in reversed(Mounts().table()):
        if Path(mount.target).is_relative_to(folder):
            Mounts().unmount(Path(mount.target))


@pytest.fixture(params=[IPV6_ONLY, IPV4_ONLY], ids=str)
def host(request: pytest.FixtureRequest) -> Host:
    found: Host = request.param
    return found


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short one: the path of a socket has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="a", dir="/tmp") as path:
        yield Path(path)
