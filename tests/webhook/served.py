"""A server with certificates of its own CA, and clients of it."""

import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry

from csidriver.http_server.connections import ConnectionState
from csidriver.webhook.https_server import AdmissionLimits, AdmissionServer
from csidriver.webhook.metrics import Result, WebhookMetrics
from csidriver.webhook.review_handler import Handler, ReviewResponse, handle_review
from csidriver.webhook.x509 import CertificateFactory
from tests.core.admission.pods import ENTRY, pod_with
from tests.core.admission.reviews import review_of

HOST = "hook.ns.svc"
GOOD = json.dumps(review_of(pod_with(ENTRY))).encode()
KIND = {"Content-Type": "application/json"}
PATIENCE = 20


class Served:
    """A server with a certificate of its own authority."""

    def __init__(self, limits: AdmissionLimits, reply: Handler = handle_review) -> None:
        self._pki = CertificateFactory()
        self._authority = self._pki.new_authority(time.time(), 3600.0)
        self.certificate = ""
        self.context: ssl.SSLContext | None = None
        self.renew()
        self.registry = CollectorRegistry()
        metrics = WebhookMetrics(self.registry)
        address = ("127.0.0.1", 0)
        self.server = AdmissionServer(address, lambda: self.context, reply, metrics, limits)
        self.server.start()

    def renew(self) -> None:
        made, key = self._pki.issue_serving_certificate(
            *self._authority, [HOST], time.time(), 3600.0
        )
        self.certificate, self.context = made.pem, self._pki.server_context(made.pem, key)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.server.address[1]), timeout=PATIENCE)

    def secure(self, **options: Any) -> ssl.SSLSocket:
        trust = ssl.create_default_context(cadata=self._authority[0].pem)
        for name, value in options.items():
            setattr(trust, name, value)
        trust.set_alpn_protocols(["h2", "http/1.1"])
        return trust.wrap_socket(self.connect(), server_hostname=HOST)

    def client(self) -> "Client":
        return Client(self.secure())

    @property
    def connections(self) -> float | None:
        return self.registry.get_sample_value("oauth2_csi_webhook_connections")

    def states(self) -> list[ConnectionState]:
        return [each.state for each in self.server._connections._connections.copy()]

    def counted(self, result: Result) -> float | None:
        labels = {"result": result.value}
        return self.registry.get_sample_value("oauth2_csi_webhook_admissions_total", labels)


class Client(http.client.HTTPConnection):
    """A client on a connection that is there already."""

    def __init__(self, connected: socket.socket) -> None:
        super().__init__(HOST)
        self.sock = connected
        self.auto_open = 0

    def post(self, body: bytes = GOOD, path: str = "/mutate", **headers: str) -> tuple[int, Any]:
        self.request("POST", path, body, {**KIND, **headers})
        return self.told()

    def told(self) -> tuple[int, Any]:
        with self.getresponse() as response:
            return response.status, json.loads(response.read())


@contextlib.contextmanager
def serving(
    limits: AdmissionLimits | None = None, reply: Handler = handle_review
) -> Iterator[Served]:
    served = Served(limits or AdmissionLimits(), reply)
    try:
        yield served
    finally:
        served.server.stop()


def is_closed(connected: socket.socket) -> bool:
    """Whether the peer ends it; waits for that."""
    try:
        return connected.recv(65536) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


HEAD = b"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


def told_on(connected: socket.socket) -> tuple[int, Any]:
    """The answer to what was sent by hand."""
    with http.client.HTTPResponse(connected, method="POST") as response:
        response.begin()
        return response.status, json.loads(response.read())


def is_refused(connected: socket.socket, text: bytes) -> bool:
    """Whether nobody takes another byte, or has ended the connection."""
    try:
        connected.sendall(text)
    except OSError:
        return True
    connected.settimeout(0.05)
    return is_closed(connected)


class Held:
    """Answers once it is told to."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.asked = threading.Semaphore(0)

    def __call__(self, body: bytes) -> ReviewResponse:
        self.asked.release()
        assert self.go.wait(PATIENCE)
        return handle_review(body)
