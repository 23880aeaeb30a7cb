"""The webhook role as a whole: certificates and server, from start to a quiet end."""

import logging
import threading

from csidriver.webhook.certificate_source import Certificates
from csidriver.webhook.https_server import AdmissionServer

log = logging.getLogger(__name__)


class Webhook:
    """`drain` is for how long it goes on after `stop`, in seconds.

    Kubernetes takes an ending pod out of its Service only after it has told the pod to end.
    """

    def __init__(self, certificates: Certificates, server: AdmissionServer, drain: float) -> None:
        self._certificates = certificates
        self._server = server
        self._drain = drain
        self._ending = threading.Event()

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop`, and a little longer."""
        self._server.start()
        log.info("admission reviews on port %d", self._server.port)
        try:
            self._certificates.run(stop)
        finally:
            self._ending.set()
            self._server.drain()
            threading.Event().wait(self._drain)
            self._server.stop()

    def alive(self) -> list[str]:
        """What would be mended by a restart."""
        return [] if self._server.alive else ["no connections are taken"]

    def ready(self) -> list[str]:
        """Why kube-apiserver should ask another replica."""
        ending = ["it is ending"] if self._ending.is_set() else []
        return self._certificates.problems() + ending
