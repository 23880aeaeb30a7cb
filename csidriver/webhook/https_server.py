"""The HTTPS server for kube-apiserver: it takes admission reviews of limited size."""

import threading
import time
from dataclasses import dataclass
from http import HTTPStatus

from csidriver.core.names import ADMISSION_PATH
from csidriver.http_server.request_handler import HttpLimits, RequestHandler
from csidriver.http_server.server import HttpServer, TlsContextProvider
from csidriver.webhook.metrics import WebhookMetrics
from csidriver.webhook.review_handler import Handler, ReviewResponse, error_response
from csidriver.webhook.review_queue import ReviewQueue


@dataclass(frozen=True, slots=True)
class AdmissionLimits(HttpLimits):
    """Sizes in bytes, times in seconds."""

    # kube-apiserver accepts 3 MiB from its clients, and adds escapes, defaults and the review
    # around the pod. A pod that it can store is smaller: etcd takes 1.5 MiB.
    body: int = 4 << 20
    head: int = 1 << 16
    # kube-apiserver waits for 5.
    request: float = 10.0
    # Go's client closes idle connections after 90. If we closed first, a request might be on its
    # way, and clients do not repeat a POST.
    idle: float = 180.0
    discard: float = 1.0
    connections: int = 256
    max_wait: float = 1.0
    # Few larger bodies are read at a time, because many would fill the memory.
    large_body_threshold: int = 1 << 16
    large_bodies: int = 4
    # How long a large one waits for smaller ones.
    max_delay: float = 1.0


class AdmissionServer(HttpServer):
    """Answers reviews with `handler`, over HTTPS."""

    def __init__(
        self,
        address: tuple[str, int],
        tls_context: TlsContextProvider,
        handler: Handler,
        metrics: WebhookMetrics,
        limits: AdmissionLimits | None = None,
    ) -> None:
        limits = limits or AdmissionLimits()
        super().__init__(address, _AdmissionHandler, limits, tls_context)
        self.handler, self.metrics = handler, metrics
        self.large_body_threshold = limits.large_body_threshold
        self.large_bodies = threading.BoundedSemaphore(limits.large_bodies)
        self.queue = ReviewQueue(limits.max_delay)
        metrics.connections.set_function(lambda: float(self.count_connections()))


class _AdmissionHandler(RequestHandler):
    method = "POST"
    _server: AdmissionServer

    def do_POST(self) -> None:  # noqa: N802 - http.server looks its methods up by these names
        if self.path.partition("?")[0] != ADMISSION_PATH:
            self.refuse(HTTPStatus.NOT_FOUND, f"only {ADMISSION_PATH} is served here")
            return
        if self.headers.get_content_type() != "application/json":
            problem = "the content type must be application/json"
            self.refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, problem)
            return
        length = self.read_length()
        if length is not None:
            self._answer_review(length)

    def _answer_review(self, length: int) -> None:
        admission = self._server
        is_large = length > admission.large_body_threshold
        timeout = max(0.0, self._bounded.deadline - time.monotonic())
        if is_large and not admission.large_bodies.acquire(timeout=timeout):
            self.refuse(HTTPStatus.SERVICE_UNAVAILABLE, "busy with other requests of this size")
            return
        try:
            body = self.read_body(length)
            if body is None:
                return
            with admission.queue.turn(is_heavy=is_large):
                response = admission.handler(body)
        finally:
            if is_large:
                admission.large_bodies.release()
        self._send(response)

    def send_problem(self, status: HTTPStatus, problem: str) -> None:
        """Send a Status object, whose message kube-apiserver shows to its client."""
        self._send(error_response(status, problem))

    def _send(self, response: ReviewResponse) -> None:
        self.send_page(response.status, "application/json", response.body)
        self._server.metrics.admissions.labels(response.result.value).inc()
        self._server.metrics.seconds.observe(time.monotonic() - self._started)
