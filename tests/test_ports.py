"""Every port of every role, as a process, under clients that are rude."""

import contextlib
import tempfile
from pathlib import Path
from statistics import median

import pytest

from csidriver.refresher.controller import WORKERS
from tests.processes import page_of
from tests.refresher.bench import until
from tests.role_ports import ReviewPort, ask_for, port_of, role, seconds_of
from tests.rude_clients import KINDS, RudeClients, connect_to, dripping

CLIENTS = 64
PLACES = 32  # of health, and of metrics


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
                    connect = connect_to("127.0.0.1", port_of(log, what))
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
    with role("webhook", tmp_path) as (_, log):
        reviews, health = ReviewPort(log), ask_for(log, "health")
        until(lambda: page_of(log, "readyz")[0] == 200)
        with RudeClients(reviews.plain) as silent, RudeClients(reviews.secure) as rude:
            until(lambda: silent.opened > 2 * CLIENTS and rude.opened > CLIENTS)
            taken = [(seconds_of(reviews.review), seconds_of(health)) for _ in range(15)]
            of_reviews, of_health = map(median, zip(*taken, strict=True))
            assert (of_reviews < 5, of_health < 1) == (True, True), taken
