"""A server whose connections can have faults, and which closes all of them when it stops."""

import threading
from collections import deque
from dataclasses import replace
from http.client import responses

from csidriver.demo.http_messages import HttpReply, HttpRequest
from csidriver.demo.server import LIMITS, IssuerHandler, IssuerServer
from tests.issuer.endpoints import PolicyEndpoints
from tests.issuer.faults import Delay, Fault, Hold, ReplacedBody, StatusReply, Truncate
from tests.issuer.policy import PolicyOutcome

_PAUSE = 0.01  # seconds between two looks at an event of a test

# Tests let replies take as long as they like.
_LIMITS = replace(LIMITS, request=3600.0)


def head(reply: HttpReply) -> bytes:
    """Return the head of a reply, also with a status that the standard library does not know."""
    lines = [f"HTTP/1.1 {reply.status} {responses.get(reply.status, '')}"]
    lines += [f"{name}: {value}" for name, value in reply.headers.items()]
    lines += [f"Content-Length: {len(reply.body)}", "", ""]
    return "\r\n".join(lines).encode("latin-1")


class FaultyHandler(IssuerHandler):
    _server: "FaultyServer"

    def _answer(self, request: HttpRequest) -> None:
        endpoints, faults = self._server.endpoints, self._server.faults
        if not endpoints.is_token_request(request):
            super()._answer(request)
            return
        try:
            fault = faults.popleft()
        except IndexError:
            fault = None
        if self._stops_meanwhile(fault):
            endpoints.log_unhandled(request, PolicyOutcome.DROPPED_BEFORE)
            self.close_connection = True
        elif isinstance(fault, StatusReply):
            endpoints.log_unhandled(request, PolicyOutcome.ANSWERED_BEFORE)
            answer = HttpReply(fault.code, fault.headers, fault.body)
            self.wfile.write(head(answer) + answer.body)
        else:
            self._send_with(endpoints.handle(request), fault)

    def _stops_meanwhile(self, fault: Fault | None) -> bool:
        """Wait if the fault says so; return True if the server stops before the end."""
        stopping = self._server.stopping
        if isinstance(fault, Hold):
            while not (fault.released.is_set() or stopping.wait(_PAUSE)):
                pass
            return not fault.released.is_set()
        return isinstance(fault, Delay) and stopping.wait(fault.seconds)

    def _send_with(self, reply: HttpReply, fault: Fault | None) -> None:
        match fault:
            case Truncate(n):
                self.wfile.write(head(reply) + reply.body[:n])
                self.close_connection = True
            case ReplacedBody(content):
                self._send(replace(reply, body=content))
            case _:
                self._send(reply)


class FaultyServer(IssuerServer):
    """Accepts connections; `stop` ends faults, and closes all connections."""

    endpoints: PolicyEndpoints

    def __init__(self, address: tuple[str, int], faults: deque[Fault]) -> None:
        self.faults = faults
        self.stopping = threading.Event()
        super().__init__(address, FaultyHandler, _LIMITS)

    def stop(self) -> None:
        self.stopping.set()
        super().stop()
