"""The HTTP server of the strict authorization server."""

from http import HTTPStatus

from csidriver.demo.endpoints import IssuerEndpoints
from csidriver.demo.http_messages import HttpReply, HttpRequest
from csidriver.http_server.request_handler import HttpLimits, RequestHandler
from csidriver.http_server.server import HttpServer

# A refresh request is below 8 KiB even with large tokens. Idle connections are kept: if the server
# closed one, a token might be on its way.
LIMITS = HttpLimits(
    body=1 << 16, head=1 << 16, request=60.0, idle=3600.0, connections=1024, max_wait=5.0
)


class IssuerHandler(RequestHandler):
    """Reads the requests of one connection and sends the endpoints' replies."""

    method = "GET, POST"
    _server: "IssuerServer"

    def do_GET(self) -> None:  # noqa: N802 - http.server looks its methods up by these names
        self._serve(b"")

    def do_POST(self) -> None:  # noqa: N802 - as above
        length = self.read_length()
        body = None if length is None else self.read_body(length)
        if body is not None:
            self._serve(body)

    def _serve(self, body: bytes) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        path, _, query = origin_form(self.path).partition("?")
        self._answer(HttpRequest(self.command, path, query, headers, body))

    def _answer(self, request: HttpRequest) -> None:
        self._send(self._server.endpoints.handle(request))

    def _send(self, reply: HttpReply) -> None:
        self.send_page(HTTPStatus(reply.status), "text/plain", reply.body, reply.headers)

    def send_problem(self, status: HTTPStatus, problem: str) -> None:
        """Send a line of text."""
        self.send_page(status, "text/plain", f"{problem}\n".encode())


def origin_form(target: str) -> str:
    """Return the target of a request without scheme and host, which a client of a proxy sends.

    RFC 9112 section 3.2.2 has every server accept them.
    """
    _, scheme_end, rest = target.partition("://")
    is_absolute = bool(scheme_end) and not target.startswith("/")
    return f"/{rest.partition('/')[2]}" if is_absolute else target


class IssuerServer(HttpServer):
    """Binds its address; `endpoints` are set before `start`, because URLs contain the port."""

    endpoints: IssuerEndpoints

    def __init__(
        self,
        address: tuple[str, int],
        handler: type[IssuerHandler] = IssuerHandler,
        limits: HttpLimits = LIMITS,
    ) -> None:
        super().__init__(address, handler, limits)
