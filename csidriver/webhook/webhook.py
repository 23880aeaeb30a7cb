"""The webhook role: its certificates and its server, from start to shutdown."""

import logging
import threading

from csidriver.webhook.certificate_source import Certificates
from csidriver.webhook.https_server import AdmissionServer

log = logging.getLogger(__name__)


class Webhook:
    """Serves admission reviews, also for `drain` seconds after `stop`.

    Kubernetes removes a terminating pod from its Service only after it has signalled the pod.
    """

    def __init__(self, certificates: Certificates, server: AdmissionServer, drain: float) -> None:
        self._certificates = certificates
        self._server = server
        self._drain = drain

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop`, and `drain` seconds longer."""
        self._server.start()
        log.info("admission reviews on port %d", self._server.address[1])
        try:
            self._certificates.run(stop)
        finally:
            self._server.draining.set()
            threading.Event().wait(self._drain)
            self._server.stop()

    def alive(self) -> list[str]:
        """Return the problems that a restart would solve."""
        return [] if self._server.alive else ["the server does not accept connections"]

    def ready(self) -> list[str]:
        """Return why kube-apiserver should ask another replica."""
        draining = self._server.draining.is_set()
        stopping = ["the webhook is shutting down"] if draining else []
        return self._certificates.problems() + stopping
