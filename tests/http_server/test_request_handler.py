"""What a client may send, and for how long."""

import socket

import pytest

from csidriver.http_server.request_handler import HttpLimits
from tests.http_server.pages import serving
from tests.refresher.bench import TIMEOUT, until
from tests.rude_clients import connect_to

# Of the two limits, only the one that counts is shorter than a test waits.
LONG = 60.0
# A client may be slow.
PATIENT = HttpLimits(idle=LONG, request=LONG)


def test_who_says_nothing_is_sent_away_in_time() -> None:
    limits = HttpLimits(idle=0.5, request=LONG)
    with serving(limits) as server, connect_to(*server.address)() as connected:
        connected.settimeout(TIMEOUT)
        assert connected.recv(1) == b""
        until(lambda: not server.count_connections())


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"G", id="dripping from the start"),
        pytest.param(b"GET / HTTP/1.1\r\nX: ", id="dripping in the head"),
    ],
)
def test_who_says_little_is_sent_away_in_time(text: bytes) -> None:
    limits = HttpLimits(idle=LONG, request=0.5)
    with serving(limits) as server, connect_to(*server.address)() as connected:
        connected.sendall(text)
        until(lambda: not sent(connected, b"x"))
        until(lambda: not server.count_connections())


def test_who_reads_little_is_sent_away_in_time() -> None:
    limits = HttpLimits(idle=LONG, request=0.5)
    with serving(limits) as server, connect_to(*server.address)() as connected:
        connected.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")

        def is_gone() -> bool:
            connected.recv(1 << 20)
            return not server.count_connections()

        until(is_gone, pause=0.1)


def test_a_long_head_is_refused() -> None:
    with serving(PATIENT) as server, connect_to(*server.address)() as connected:
        connected.sendall(b"GET / HTTP/1.1\r\nX: " + b"y" * 5000)
        assert connected.recv(4096).startswith(b"HTTP/1.1 431 ")


def test_a_head_of_a_usual_size_is_not() -> None:
    with serving(PATIENT) as server, connect_to(*server.address)() as connected:
        connected.sendall(b"GET / HTTP/1.1\r\nX: " + b"y" * 3000 + b"\r\n\r\n")
        assert connected.recv(4096).startswith(b"HTTP/1.1 200 ")


def test_another_method_is_refused() -> None:
    with serving(PATIENT) as server, connect_to(*server.address)() as connected:
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
