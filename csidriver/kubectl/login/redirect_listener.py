"""The listener that takes the redirect of a login in the browser (RFC 8252 section 7.3).

It takes one redirect, then closes; the checks of its parameters are made elsewhere. Each
connection has a thread, because browsers open connections on which they send nothing.
"""

import contextlib
import queue
import socket
import socketserver
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, Self

from csidriver.core.sensitive import Sensitive
from csidriver.kubectl.errors import LoginFailed
from csidriver.kubectl.login.loopback import Redirect

WAIT_SECONDS = 180.0
_REQUEST_SECONDS = 10.0
_POLL_SECONDS = 0.05
_PAGE = (
    b"<!doctype html><html lang=en><title>oauth2-csi</title>"
    b"<p>You can close this page. The terminal says how the login went.</html>"
)


class RedirectListener:
    """Listens on a port of this machine from its construction until `close`."""

    def __init__(self, redirect: Redirect, say: Callable[[str], None]) -> None:
        self._redirects: queue.Queue[Sensitive] = queue.Queue()
        self._server = _listen(redirect, self._redirects, say)
        self.redirect_uri = redirect.uri(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_SECONDS,), daemon=True
        )
        self._thread.start()

    def wait(self, seconds: float = WAIT_SECONDS) -> Sensitive:
        """Return the query of the first redirect, and close; raise LoginFailed after a time."""
        try:
            return self._redirects.get(timeout=seconds)
        except queue.Empty:
            raise LoginFailed(
                f"the browser brought no answer within {seconds / 60:.0f} minutes; run the command "
                f"again, with --no-browser if the browser is on another machine. If the server "
                f"does not know the redirect address, register {self.redirect_uri} for the client"
            ) from None
        finally:
            self.close()

    def close(self) -> None:
        """Stop listening; harmless if it was closed before."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(self, host: str, port: int, path: str, redirects: queue.Queue[Sensitive]) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.path, self.redirects = path or "/", redirects
        self.first = threading.Lock()
        super().__init__((host, port), _Handler)

    def handle_error(self, *_: object) -> None:
        """Ignore clients that disconnect."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _REQUEST_SECONDS

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Log nothing: the request line has the code."""

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path != self.server.path or not query:
            self._answer(HTTPStatus.NOT_FOUND, b"")
            return
        if not self.server.first.acquire(blocking=False):
            self._answer(HTTPStatus.GONE, b"")
            return
        try:
            # First, because the process may end as soon as it has the redirect.
            self._answer(HTTPStatus.OK, _PAGE)
        finally:
            self.server.redirects.put(Sensitive(query))

    def _answer(self, status: HTTPStatus, page: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Content-Security-Policy", "default-src 'none'")
        self.end_headers()
        self.wfile.write(page)


def _listen(
    redirect: Redirect, redirects: queue.Queue[Sensitive], say: Callable[[str], None]
) -> _Server:
    """Bind the first port that is free, and say which ones are not."""
    for port in redirect.ports:
        with contextlib.suppress(OSError):
            return _Server(redirect.bind_address, port, redirect.path, redirects)
        if port:
            say(f"Port {port} is in use.")
    ports = " and ".join(str(port) for port in redirect.ports if port)
    raise LoginFailed(
        f"no port to listen on: {ports} is in use; end the program that uses it, or choose "
        "--device or --no-browser"
    )
