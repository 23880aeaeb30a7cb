"""The server under rude clients, without TLS, as health and metrics use it."""

from csidriver.http_server.request_handler import HttpLimits
from tests.http_server.pages import get, serving
from tests.refresher.bench import until
from tests.rude_clients import RudeClients, connect_to


def test_a_page_is_answered_under_rude_clients_and_they_are_few() -> None:
    with serving(HttpLimits()) as server, RudeClients(connect_to(*server.address)) as rude:
        until(lambda: rude.opened > 200)
        most = 0
        for _ in range(20):
            status, page, seconds = get(server)
            assert (status, page) == (200, b"ok")
            assert seconds < 1
            most = max(most, server.count_connections())
        assert 16 < most <= 32
