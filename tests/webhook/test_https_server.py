"""The admission server over real TLS on loopback, and peers that are slow, rude or many."""

import contextlib
import ssl
import threading

import pytest

from csidriver.http_server.connections import ConnectionState
from csidriver.webhook.https_server import AdmissionLimits
from csidriver.webhook.review_handler import ReviewResponse
from tests.waiting import until
from tests.webhook.served import (
    GOOD,
    HEAD,
    KIND,
    PATIENCE,
    Client,
    Held,
    Served,
    is_closed,
    is_refused,
    serving,
    told_on,
)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_http_1_1_and_tls_1_2_or_later_are_spoken(served: Served) -> None:
    with served.secure() as connected:
        assert (connected.version(), connected.selected_alpn_protocol()) == ("TLSv1.3", "http/1.1")
    with served.secure(maximum_version=ssl.TLSVersion.TLSv1_2) as connected:
        assert connected.version() == "TLSv1.2"
        assert Client(connected).post()[0] == 200
    old = dict.fromkeys(("minimum_version", "maximum_version"), ssl.TLSVersion.TLSv1_1)
    with pytest.raises(ssl.SSLError):
        served.secure(**old)


def test_a_silent_handshake_keeps_out_nobody_and_is_let_go() -> None:
    with serving(AdmissionLimits(handshake=0.5)) as served, served.connect() as connected:
        connected.sendall(b"\x16\x03\x01\x02\x00\x01")
        with contextlib.closing(served.client()) as client:
            assert client.post()[0] == 200
        assert is_closed(connected)
        until(lambda: served.connections == 0)


def test_a_slow_body_does_not_gain_time_with_each_byte() -> None:
    with serving(AdmissionLimits(request=0.5)) as served, served.secure() as connected:
        connected.sendall(HEAD + b"Content-Length: 5000\r\n\r\n{")
        until(lambda: is_refused(connected, b"x"))
        until(lambda: served.connections == 0)


def test_another_certificate_is_for_the_next_connection(served: Served) -> None:
    def shown(connected: ssl.SSLSocket) -> str:
        return ssl.DER_cert_to_PEM_cert(connected.getpeercert(binary_form=True) or b"")

    with served.secure() as before:
        first = served.certificate
        served.renew()
        with served.secure() as after:
            assert shown(before).split() == first.split()
            assert shown(after).split() == served.certificate.split()
        assert Client(before).post()[0] == 200


def test_without_a_certificate_connections_are_closed(served: Served) -> None:
    context, served.context = served.context, None
    with served.connect() as connected:
        assert is_closed(connected)
    served.context = context
    with contextlib.closing(served.client()) as client:
        assert client.post()[0] == 200


def test_a_stop_finishes_what_is_being_answered_and_lets_the_idle_go() -> None:
    held = Held()
    with serving(reply=held) as served, contextlib.ExitStack() as stack:
        busy, idle = [stack.enter_context(contextlib.closing(served.client())) for _ in range(2)]
        until(lambda: served.states() == [ConnectionState.IDLE] * 2)
        half = stack.enter_context(served.secure())
        half.sendall(HEAD + f"Content-Length: {len(GOOD)}\r\n\r\n".encode() + GOOD[:10])
        busy.request("POST", "/mutate", GOOD, KIND)
        assert held.asked.acquire(timeout=PATIENCE)
        until(lambda: set(served.states()) == set(ConnectionState))
        stopping = threading.Thread(target=served.server.stop)
        stopping.start()
        assert is_closed(idle.sock)
        held.go.set()
        assert busy.told()[0] == 200
        half.sendall(GOOD[10:])
        assert told_on(half)[0] == 200
        stopping.join(PATIENCE)
        assert not stopping.is_alive()
        assert served.connections == 0
        with pytest.raises(ConnectionRefusedError):
            served.connect()


def test_who_leaves_sends_clients_elsewhere_with_each_answer(served: Served) -> None:
    with served.secure() as connected:
        served.server.draining.set()
        client = Client(connected)
        client.request("POST", "/mutate", GOOD, KIND)
        with client.getresponse() as response:
            assert (response.status, response.headers["Connection"]) == (200, "close")
        assert is_closed(connected)


def test_a_defect_in_a_connection_is_logged_without_its_bytes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(_: bytes) -> ReviewResponse:
        raise ZeroDivisionError

    with serving(reply=broken) as served, contextlib.closing(served.client()) as client:
        client.request("POST", "/mutate", b'{"planted": 1}', KIND)
        assert is_closed(client.sock)
        until(lambda: served.connections == 0)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "planted" not in caplog.text
