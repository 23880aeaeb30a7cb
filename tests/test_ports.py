"""Every port of every role, as a process, under clients that are rude."""

import contextlib
import http.client
import json
import re
import socket
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from csidriver.adapters.mounts import Mounts
from tests.core.admission.pods import ENTRY, pod_with
from tests.core.admission.reviews import review_of
from tests.processes import page_at, running, served_at
from tests.refresher.bench import until
from tests.rude_clients import KINDS, RudeClients, connect_to, dripping

CLIENTS = 64
PLACES = 32  # of health, and of metrics
REVIEWS = re.compile(r"admission reviews on port ([0-9]+)")


@contextlib.contextmanager
def role(name: str, folder: Path) -> Iterator[tuple[int, Path]]:
    """Run a role; give its pid and its log."""
    flags = ["--store", f"dir:{folder}/store", "--listen", "127.0.0.1:0"]
    (folder / "store").mkdir()
    kubelet = folder / "kubelet"
    if name == "node":
        for each in ("plugins", "pods", "plugins_registry"):
            (kubelet / each).mkdir(parents=True)
        Mounts().share(kubelet)
        flags += ["--kubelet-dir", str(kubelet), "--view-dir", str(folder / "view")]
    elif name == "refresher":
        (folder / "issuers.yaml").write_text("issuers: []", encoding="utf-8")
        flags += ["--issuers", str(folder / "issuers.yaml")]
    else:
        flags += ["--webhook-listen", "127.0.0.1:0"]
    try:
        with running(name, *flags) as (process, log):
            yield process.pid, log
            process.terminate()
            assert process.wait(20) == 0
    finally:
        for mount in reversed(Mounts().table()):
            if Path(mount.target).is_relative_to(folder):
                Mounts().unmount(Path(mount.target))


def timed(ask: Callable[[], tuple[int, str]]) -> tuple[int, float]:
    began = time.monotonic()
    status, _ = ask()
    return status, time.monotonic() - began


@pytest.mark.mounts
@pytest.mark.parametrize("name", ["node", "refresher", "webhook"])
def test_kubelet_and_prometheus_are_answered_under_rude_clients(name: str) -> None:
    with tempfile.TemporaryDirectory() as folder, role(name, Path(folder)) as (pid, log):
        urls = {what: f"http://{served_at(log, what)}" for what in ("health", "metrics")}
        until(lambda: page_at(urls["health"], "healthz")[0] == 200)
        tasks = Path(f"/proc/{pid}/task")
        before = len(list(tasks.iterdir()))
        # Those who drip stay longest, if they may.
        for kinds in (KINDS, (dripping,)):
            with contextlib.ExitStack() as stack:
                for url in urls.values():
                    connect = connect_to("127.0.0.1", int(url.rpartition(":")[2]))
                    rude = stack.enter_context(RudeClients(connect, kinds, CLIENTS))
                    until(lambda rude=rude: rude.opened > CLIENTS)  # type: ignore[misc]
                for _ in range(8):
                    status, seconds = timed(lambda: page_at(urls["health"], "healthz"))
                    assert (status, seconds < 1) == (200, True), seconds
                    status, seconds = timed(lambda: page_at(urls["metrics"], "metrics"))
                    assert (status, seconds < 5) == (200, True), seconds
                    assert len(list(tasks.iterdir())) <= before + 2 * PLACES + 4


def test_the_api_server_is_answered_under_rude_clients(tmp_path: Path) -> None:
    body = json.dumps(review_of(pod_with(ENTRY)))
    anybody = ssl.create_default_context()
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    with role("webhook", tmp_path) as (_, log):
        port = int(until(lambda: REVIEWS.search(log.read_text(encoding="utf-8")))[1])
        health = f"http://{served_at(log, 'health')}"
        until(lambda: page_at(health, "readyz")[0] == 200)
        plain = connect_to("127.0.0.1", port)

        def secure() -> socket.socket:
            return anybody.wrap_socket(plain())

        def review() -> tuple[int, str]:
            client = http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=anybody)
            with contextlib.closing(client):
                client.request("POST", "/mutate", body, {"Content-Type": "application/json"})
                with client.getresponse() as response:
                    return response.status, response.read().decode()

        with RudeClients(plain) as silent, RudeClients(secure) as rude:
            until(lambda: silent.opened > 2 * CLIENTS and rude.opened > CLIENTS)
            for _ in range(15):
                status, seconds = timed(review)
                assert (status, seconds < 5) == (200, True), seconds
                status, seconds = timed(lambda: page_at(health, "healthz"))
                assert (status, seconds < 1) == (200, True), seconds
