"""HTTP server for `/metrics`, `/healthz` and `/readyz`."""

import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from csidriver.listener import HttpServer

# Returns the problems why a role is not alive or not ready.
Check = Callable[[], list[str]]
_TEXT = "text/plain; charset=utf-8"


class ProbeServer:
    """Serves until `stop`. The status is 200, or 503 with the problems of a check, one per line."""

    def __init__(
        self, address: tuple[str, int], registry: CollectorRegistry, checks: Mapping[str, Check]
    ) -> None:
        pages: dict[str, Callable[[], tuple[int, str, bytes]]] = {
            f"/{name}": lambda check=check: _check_result(check())  # type: ignore[misc]
            for name, check in checks.items()
        }
        pages["/metrics"] = lambda: (200, CONTENT_TYPE_LATEST, generate_latest(registry))

        class Handler(BaseHTTPRequestHandler):
            timeout = 10  # seconds a client may keep a thread

            def do_GET(self) -> None:
                page = pages.get(self.path.partition("?")[0])
                status, content_type, body = page() if page else (404, _TEXT, b"no such page\n")
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Log nothing: kubelet reports failed probes in events."""

        self._server = HttpServer(address, Handler)
        self._thread = threading.Thread(target=self._serve, name="ops", daemon=True)

    def _serve(self) -> None:
        # The longest time that stop() waits, in seconds; each poll wakes the process.
        self._server.serve_forever(poll_interval=0.2)

    @property
    def address(self) -> tuple[str, int]:
        """Where it serves; `::` is all addresses."""
        host, port = self._server.server_address[:2]
        return str(host), port

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _check_result(problems: list[str]) -> tuple[int, str, bytes]:
    if not problems:
        return 200, _TEXT, b"ok\n"
    return 503, _TEXT, "".join(f"{problem}\n" for problem in problems).encode()
