"""Requests that kubelet sends to a role's health port."""

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tests.processes import page_at, served_at

PERIOD = 1.0  # seconds


@contextlib.contextmanager
def probed(log: Path) -> Iterator[list[float]]:
    """Ask a role, which has this log, for its health every second; collect seconds.

    A probe that fails, or takes longer than kubelet waits, counts as infinitely long.
    """
    url = f"http://{served_at(log, 'health')}"
    seconds: list[float] = []
    stop = threading.Event()

    def probe() -> None:
        while not stop.wait(PERIOD):
            began = time.monotonic()
            try:
                status, _ = page_at(url, "healthz")
            except OSError:
                status = 0
            seconds.append(time.monotonic() - began if status == 200 else float("inf"))

    prober = threading.Thread(target=probe, name="kubelet")
    prober.start()
    try:
        yield seconds
    finally:
        stop.set()
        prober.join()
