"""A token endpoint over HTTPS as a process of its own: it answers all alike, and counts.

`/kept/token` leaves the connection open, `/fresh/token` closes it after each answer. Run as a
module with a file of certificate and key, and one that holds the answer; prints its port.
"""

import json
import ssl
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any, Self, cast

import urllib3

from bench.scale_issuer import PresentedToken

COUNT = "/count"


class Handler(BaseHTTPRequestHandler):
    """Looks at the path only."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    answer = b""
    answered = 0

    def do_POST(self) -> None:
        """Answer a token request."""
        self.rfile.read(int(self.headers["Content-Length"]))
        Handler.answered += 1
        self._send(self.answer)

    def do_GET(self) -> None:
        """Answer how many token requests there were."""
        self._send(json.dumps(Handler.answered).encode())

    def _send(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.path.startswith("/fresh/"):
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        """Nothing to say."""


class TokenServer:
    """The running process; `url` is without a path."""

    def __init__(self, certificate: Path, ca_file: Path, answer: Path) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "bench.token_server", str(certificate), str(answer)],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.url = f"https://127.0.0.1:{cast('IO[str]', self._process.stdout).readline().strip()}"
        self._pool = urllib3.PoolManager(ca_certs=str(ca_file))

    def count(self) -> int:
        """Return how many token requests were answered."""
        return int(self._pool.request("GET", self.url + COUNT).json())

    def log(self) -> list[PresentedToken]:
        """Return nothing: it looks at no token."""
        return []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


def main() -> None:
    """Serve until killed."""
    _, certificate, answer = sys.argv
    Handler.answer = Path(answer).read_bytes()
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
