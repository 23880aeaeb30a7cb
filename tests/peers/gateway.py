"""A gateway in front of an authorization server, as an ingress controller is."""

import contextlib
import threading
from http.server import BaseHTTPRequestHandler

import requests

from tests.adapters.oauth.peer import LoopbackServer

_UNAVAILABLE = b"<html><body><h1>503 Service Temporarily Unavailable</h1></body></html>"


class Gateway(LoopbackServer):
    """Forwards requests with their Host, and holds each answer back for `delay` seconds.

    While `down` is set it says 503 without Retry-After instead.
    """

    def __init__(self, backend: str, delay: float = 0.0) -> None:
        down = self.down = threading.Event()
        stopping = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Log nothing: the test asserts what counts."""

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, content_type, reply = 503, "text/html", _UNAVAILABLE
                if not down.is_set():
                    status, content_type, reply = self._forward(body)
                    stopping.wait(delay)
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(reply)))
                with contextlib.suppress(ConnectionError):  # the client did not wait
                    self.end_headers()
                    self.wfile.write(reply)

            def _forward(self, body: bytes) -> tuple[int, str, bytes]:
                with requests.Session() as session:
                    session.trust_env = False
                    answer = session.request(
                        self.command,
                        backend + self.path,
                        data=body,
                        headers=dict(self.headers),
                        timeout=60,
                        allow_redirects=False,
                    )
                return answer.status_code, answer.headers["Content-Type"], answer.content

            do_GET = do_POST = _serve  # noqa: N815 - http.server looks them up by these names

        super().__init__(Handler, stopping)
        self.url = f"http://{self.address}"
