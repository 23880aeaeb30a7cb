"""What a client may send, and for how long."""

import socket
import time

import pytest

from csidriver.http_server.request_handler import HttpLimits
from tests.http_server.pages import serving
from tests.refresher.bench import until
from tests.rude_clients import connect_to


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"", id="silent"),
        pytest.param(b"G", id="dripping from the start"),
        pytest.param(b"GET / HTTP/1.1\r\nX: ", id="dripping in the head"),
    ],
)
def test_who_says_nothing_or_little_is_sent_away_in_time(text: bytes) -> None:
    with serving(HttpLimits(idle=0.5, request=0.5)) as server:
        began = time.monotonic()
        with connect_to(*server.address)() as connected:
            connected.sendall(text)
            until(server.count_connections)
            until(lambda: not server.count_connections() or (text and not sent(connected, b"x")))
            until(lambda: not server.count_connections())
        assert time.monotonic() - began < 3


def test_who_reads_little_is_sent_away_in_time() -> None:
    with serving(HttpLimits(request=0.5)) as server:
        began = time.monotonic()
        with connect_to(*server.address)() as connected:
            connected.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            until(server.count_connections)

            def is_gone() -> bool:
                connected.recv(1 << 20)
                return not server.count_connections()

            until(is_gone, pause=0.1)
        assert time.monotonic() - began < 3


def test_a_long_head_is_refused() -> None:
    with serving(HttpLimits()) as server, connect_to(*server.address)() as connected:
        connected.sendall(b"GET / HTTP/1.1\r\nX: " + b"y" * 5000)
        assert connected.recv(4096).startswith(b"HTTP/1.1 431 ")


def test_a_head_of_a_usual_size_is_not() -> None:
    with serving(HttpLimits()) as server, connect_to(*server.address)() as connected:
        connected.sendall(b"GET / HTTP/1.1\r\nX: " + b"y" * 3000 + b"\r\n\r\n")
        assert connected.recv(4096).startswith(b"HTTP/1.1 200 ")


def test_another_method_is_refused() -> None:
    with serving(HttpLimits()) as server, connect_to(*server.address)() as connected:
        connected.sendall(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}")
        told = connected.recv(4096)
        assert told.startswith(b"HTTP/1.1 405 ")
        assert b"\r\nAllow: GET\r\n" in told


def sent(connected: socket.socket, text: bytes) -> bool:
    try:
        connected.sendall(text)
    except OSError:
        return False
    return True
