"""HTTP servers of health (`/healthz`, `/readyz`) and, apart from it, of `/metrics`."""

import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from csidriver.http_server.connections import ConnectionState
from csidriver.http_server.request_handler import HttpLimits, RequestHandler
from csidriver.http_server.server import HttpServer

# Returns the problems why a role is not alive or not ready.
Check = Callable[[], list[str]]
_TEXT = "text/plain; charset=utf-8"


class HealthServer(HttpServer):
    """Serves checks. The status is 200, or 503 with the problems of a check, one per line."""

    def __init__(self, address: tuple[str, int], checks: Mapping[str, Check]) -> None:
        super().__init__(address, _PageHandler, HttpLimits())
        self._checks = {f"/{name}": check for name, check in checks.items()}

    def page(self, path: str) -> tuple[HTTPStatus, str, bytes] | None:
        if path not in self._checks:
            return None
        text = "".join(f"{problem}\n" for problem in self._checks[path]())
        status = HTTPStatus.SERVICE_UNAVAILABLE if text else HTTPStatus.OK
        return status, _TEXT, (text or "ok\n").encode()


class MetricsServer(HttpServer):
    """Serves metrics. It makes one page at a time: a large one takes the processor a while."""

    def __init__(self, address: tuple[str, int], registry: CollectorRegistry) -> None:
        super().__init__(address, _PageHandler, HttpLimits())
        self._registry = registry
        self._alone = threading.Lock()

    def page(self, path: str) -> tuple[HTTPStatus, str, bytes] | None:
        if path != "/metrics":
            return None
        with self._alone:
            return HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(self._registry)


class _PageHandler(RequestHandler):
    """Sends one page and closes the connection."""

    _server: HealthServer | MetricsServer

    def do_GET(self) -> None:  # noqa: N802 - http.server looks its methods up by these names
        self.close_connection = True
        self._peer.set_state(ConnectionState.ANSWERING)
        page = self._server.page(self.path.partition("?")[0])
        self.send_page(*(page or (HTTPStatus.NOT_FOUND, _TEXT, b"no such page\n")))

    def send_problem(self, status: HTTPStatus, problem: str) -> None:
        """Send a line of text."""
        self.send_page(status, _TEXT, f"{problem}\n".encode())
