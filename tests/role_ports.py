"""Roles as processes, and those who ask on their ports: kubelet, Prometheus, the API server."""

import contextlib
import http.client
import json
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from csidriver.adapters.mounts import Mounts
from tests.core.admission.pods import ENTRY, pod_with
from tests.core.admission.reviews import review_of
from tests.processes import page_at, running, served_at
from tests.refresher.bench import until
from tests.rude_clients import connect_to

Ask = Callable[[], tuple[int, str]]

_REVIEWS = re.compile(r"admission reviews on port ([0-9]+)")


@contextlib.contextmanager
def role(name: str, folder: Path) -> Iterator[tuple[int, Path]]:
    """Run a role, with a folder as its store; give its pid and its log. It must not end."""
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


def seconds_of(ask: Ask) -> float:
    """Return the seconds that a good answer took."""
    began = time.monotonic()
    status, _ = ask()
    assert status == 200
    return time.monotonic() - began


def port_of(log: Path, what: str) -> int:
    """Return the port of health or metrics; waits until it is served."""
    return int(served_at(log, what).rpartition(":")[2])


def ask_for(log: Path, what: str) -> Ask:
    """Return what asks for health or metrics."""
    url = f"http://{served_at(log, what)}"
    return lambda: page_at(url, "healthz" if what == "health" else "metrics")


class ReviewPort:
    """The port of a webhook for reviews; waits until it is served."""

    def __init__(self, log: Path) -> None:
        self.port = int(until(lambda: _REVIEWS.search(log.read_text(encoding="utf-8")))[1])
        self.plain = connect_to("127.0.0.1", self.port)
        self._body = json.dumps(review_of(pod_with(ENTRY)))
        self._anybody = ssl.create_default_context()
        self._anybody.check_hostname, self._anybody.verify_mode = False, ssl.CERT_NONE

    def secure(self) -> socket.socket:
        return self._anybody.wrap_socket(self.plain())

    def review(self) -> tuple[int, str]:
        """Ask for one review, as the API server does."""
        client = http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=20, context=self._anybody
        )
        with contextlib.closing(client):
            kind = {"Content-Type": "application/json"}
            client.request("POST", "/mutate", self._body, kind)
            with client.getresponse() as response:
                return response.status, response.read().decode()
