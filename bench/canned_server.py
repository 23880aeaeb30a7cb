"""The floor of an admission webhook: HTTPS that reads a request and answers what it was given.

Run with the files of certificate and key, and the one that holds the answer; prints its port.
"""

import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    """Answers every POST the same."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    answer = b""

    def do_POST(self) -> None:
        """Read all, look at nothing."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(self.answer)))
        self.end_headers()
        self.wfile.write(self.answer)
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        """Nothing to say."""


def main() -> None:
    """Serve until killed."""
    _, certificate, key, answer = sys.argv
    Handler.answer = Path(answer).read_bytes()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
