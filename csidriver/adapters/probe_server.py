"""The port for operators: `/metrics`, `/healthz` and `/readyz` over plain HTTP."""

import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

# What keeps a role from being alive or ready; nothing if all is well.
Check = Callable[[], list[str]]
_TEXT = "text/plain; charset=utf-8"


class ProbeServer:
    """Serves until `stop`. A check answers 200, or 503 with its problems, one a line."""

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
                status, kind, body = page() if page else (404, _TEXT, b"no such page\n")
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Probes come every few seconds; their failures show in kubelet's events."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """A client that went away is nobody's business."""

        self._server = Server(address, Handler)
        self._thread = threading.Thread(target=self._serve, name="ops", daemon=True)

    def _serve(self) -> None:
        # How long stop() may take, in seconds; each look costs a wake-up.
        self._server.serve_forever(poll_interval=0.2)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _check_result(problems: list[str]) -> tuple[int, str, bytes]:
    if not problems:
        return 200, _TEXT, b"ok\n"
    return 503, _TEXT, "".join(f"{problem}\n" for problem in problems).encode()
