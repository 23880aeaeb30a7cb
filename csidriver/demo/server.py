"""The HTTP server of the strict authorization server."""

from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from csidriver.demo.endpoints import IssuerEndpoints
from csidriver.demo.http_messages import HttpReply, HttpRequest
from csidriver.listener import listen

MAX_BODY = 64 * 1024  # bytes; a refresh request is below 8 KiB even with large tokens


class IssuerHandler(BaseHTTPRequestHandler):
    """Reads the requests of one connection and sends the endpoints' replies."""

    server: "IssuerServer"
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Log nothing: request lines may contain secrets."""

    def _serve(self) -> None:
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal() or int(length) > MAX_BODY:
            self.close_connection = True
            self._send(HttpReply(HTTPStatus.BAD_REQUEST, {"Connection": "close"}))
            return
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            self.close_connection = True
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        path, _, query = self.path.partition("?")
        self._answer(HttpRequest(self.command, path, query, headers, body))

    do_GET = do_POST = _serve  # noqa: N815 - http.server looks its methods up by these names

    def _answer(self, request: HttpRequest) -> None:
        self._send(self.server.endpoints.handle(request))

    def _send(self, reply: HttpReply) -> None:
        self.wfile.write(reply.head() + reply.body)


class IssuerServer(ThreadingHTTPServer):
    """Binds its address; `endpoints` are set afterwards, because URLs contain the port."""

    handler = IssuerHandler
    endpoints: IssuerEndpoints

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__(address, self.handler, bind_and_activate=False)
        self.socket.close()
        # Not by server_bind: HTTPServer's looks up a name, which can hang.
        self.socket = listen(address)
        self.server_address = self.socket.getsockname()

    def handle_error(self, *_: object) -> None:
        """Ignore clients that have disconnected."""
