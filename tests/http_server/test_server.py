"""The server without TLS, as health and metrics use it; tests/test_ports.py is rude to it."""

import contextlib

from csidriver.http_server.request_handler import HttpLimits
from tests.http_server.pages import serving
from tests.processes import page_at
from tests.rude_clients import connect_to
from tests.waiting import until


def test_who_does_not_read_makes_room_for_others() -> None:
    with (
        serving(HttpLimits(connections=3, request=60.0)) as server,
        contextlib.ExitStack() as stack,
    ):
        for _ in range(3):
            deaf = stack.enter_context(connect_to(*server.address)())
            deaf.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        until(lambda: server.count_connections() == 3)
        host, port = server.address
        assert page_at(f"http://{host}:{port}", "") == (200, "ok")
