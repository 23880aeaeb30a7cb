"""The server under rude clients, without TLS, as health and metrics use it."""

import contextlib
from statistics import median

from csidriver.http_server.request_handler import HttpLimits
from tests.http_server.pages import get, serving
from tests.refresher.bench import until
from tests.rude_clients import RudeClients, connect_to


def test_a_page_is_answered_under_rude_clients_and_they_are_few() -> None:
    # Rude clients may stay for long, so only those who make room let others in.
    limits = HttpLimits(idle=5.0, request=20.0)
    with serving(limits) as server, RudeClients(connect_to(*server.address)) as rude:
        until(lambda: rude.opened > 200)
        most, taken = 0, []
        for _ in range(20):
            status, page, seconds = get(server)
            assert (status, page) == (200, b"ok")
            taken.append(seconds)
            most = max(most, server.count_connections())
        # A machine may pause for as long as it likes, but not each time.
        assert median(taken) < 1, taken
        assert 16 < most <= 32


def test_who_does_not_read_makes_room_for_others() -> None:
    with (
        serving(HttpLimits(connections=3, request=60.0)) as server,
        contextlib.ExitStack() as stack,
    ):
        for _ in range(3):
            deaf = stack.enter_context(connect_to(*server.address)())
            deaf.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        until(lambda: server.count_connections() == 3)
        status, page, _ = get(server)
        assert (status, page) == (200, b"ok")
