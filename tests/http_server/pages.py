"""A server of a short page and of a long one, with little limits or those of health."""

import contextlib
from collections.abc import Iterator
from http import HTTPStatus

from csidriver.http_server.connections import ConnectionState
from csidriver.http_server.request_handler import HttpLimits, RequestHandler
from csidriver.http_server.server import HttpServer

LONG = b"x" * (32 << 20)  # more than the kernel keeps for a client that does not read


class Pages(RequestHandler):
    """Serves a short page, and a long one at /metrics."""

    def do_GET(self) -> None:  # noqa: N802 - http.server looks its methods up by these names
        self.close_connection = True
        self._peer.set_state(ConnectionState.ANSWERING)
        self.send_page(HTTPStatus.OK, "text/plain", LONG if self.path == "/metrics" else b"ok")

    def send_problem(self, status: HTTPStatus, problem: str) -> None:
        self.send_page(status, "text/plain", problem.encode())


@contextlib.contextmanager
def serving(limits: HttpLimits) -> Iterator[HttpServer]:
    server = HttpServer(("127.0.0.1", 0), Pages, limits)
    server.start()
    try:
        yield server
    finally:
        server.stop()
