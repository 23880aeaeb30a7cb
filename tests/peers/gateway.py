"""A gateway in front of an authorization server, as an ingress controller is."""

import contextlib
import socketserver
import threading
from http.server import BaseHTTPRequestHandler
from typing import Self

import requests

_UNAVAILABLE = b"<html><body><h1>503 Service Temporarily Unavailable</h1></body></html>"


class Gateway:
    """Forwards requests with their Host, and holds each answer back for `delay` seconds.

    While `down` is set it says 503 without Retry-After instead.
    """

    def __init__(self, backend: str, delay: float = 0.0) -> None:
        down = self.down = threading.Event()
        stopping = self._stopping = threading.Event()

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

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
