"""Every port of every role, as a process, under clients that are rude."""

import contextlib
import re
import socket
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from csidriver.adapters.mounts import Mounts
from csidriver.demo.kubelet import Kubelet
from csidriver.refresher.controller import WORKERS
from tests.processes import page_at, page_of, running, served_at
from tests.rude_clients import KINDS, RudeClients, connect_to, dripping
from tests.waiting import until
from tests.webhook.served import Client

CLIENTS = 64
PLACES = 32  # of health, and of metrics
REVIEWS = re.compile(r"admission reviews on port ([0-9]+)")

Ask = Callable[[], tuple[int, Any]]


@contextlib.contextmanager
def role(name: str, folder: Path) -> Iterator[tuple[int, Path]]:
    """Run a role, with a folder as its store; give its pid and its log. It must not end."""
    flags = ["--store", f"dir:{folder}/store", "--listen", "127.0.0.1:0"]
    (folder / "store").mkdir()
    kubelet = folder / "kubelet"
    if name == "node":
        Kubelet(kubelet, Mounts(), "default").prepare()
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


def seconds_of(ask: Ask) -> float:
    began = time.monotonic()
    status, _ = ask()
    assert status == 200
    return time.monotonic() - began


def ask_for(log: Path, what: str) -> Ask:
    url = f"http://{served_at(log, what)}"
    return lambda: page_at(url, "healthz" if what == "health" else "metrics")


@pytest.mark.mounts
@pytest.mark.parametrize("name", ["node", "refresher", "webhook"])
def test_kubelet_and_prometheus_are_answered_under_rude_clients(name: str) -> None:
    with tempfile.TemporaryDirectory() as folder, role(name, Path(folder)) as (pid, log):
        health, metrics = ask_for(log, "health"), ask_for(log, "metrics")
        until(lambda: health()[0] == 200)
        tasks = Path(f"/proc/{pid}/task")
        # The refresher's workers may not have started yet.
        before = len(list(tasks.iterdir()))
        # Those who drip stay longest, if they may.
        for kinds in (KINDS, (dripping,)):
            with contextlib.ExitStack() as stack:
                for what in ("health", "metrics"):
                    connect = connect_to("127.0.0.1", int(served_at(log, what).rpartition(":")[2]))
                    rude = stack.enter_context(RudeClients(connect, kinds, CLIENTS))
                    until(lambda rude=rude: rude.opened > CLIENTS)  # type: ignore[misc]
                taken = []
                for _ in range(8):
                    taken.append((seconds_of(health), seconds_of(metrics)))
                    assert len(list(tasks.iterdir())) <= before + WORKERS + 2 * PLACES + 4
                # A machine may pause for as long as it likes, but not each time.
                of_health, of_metrics = map(median, zip(*taken, strict=True))
                assert (of_health < 1, of_metrics < 5) == (True, True), taken


def test_the_api_server_is_answered_under_rude_clients(tmp_path: Path) -> None:
    anybody = ssl.create_default_context()
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    with role("webhook", tmp_path) as (_, log):
        health = ask_for(log, "health")
        until(lambda: page_of(log, "readyz")[0] == 200)
        port = int(until(lambda: REVIEWS.search(log.read_text(encoding="utf-8")))[1])
        plain = connect_to("127.0.0.1", port)

        def review() -> tuple[int, Any]:
            connected = socket.create_connection(("127.0.0.1", port), timeout=20)
            with contextlib.closing(Client(anybody.wrap_socket(connected))) as client:
                return client.post()

        with (
            RudeClients(plain) as silent,
            RudeClients(lambda: anybody.wrap_socket(plain())) as rude,
        ):
            until(lambda: silent.opened > 2 * CLIENTS and rude.opened > CLIENTS)
            taken = [(seconds_of(review), seconds_of(health)) for _ in range(15)]
            of_reviews, of_health = map(median, zip(*taken, strict=True))
            assert (of_reviews < 5, of_health < 1) == (True, True), taken
