"""What a client may send, and for how long."""

import socket

import pytest

from csidriver.http_server.request_handler import HttpLimits
from tests.http_server.pages import serving
from tests.rude_clients import connect_to
from tests.waiting import TIMEOUT, until

# Of the two limits, only the one that counts is shorter than a test waits.
LONG = 60.0


def test_who_says_nothing_is_sent_away_in_time() -> None:
    limits = HttpLimits(idle=0.5, request=LONG)
    with serving(limits) as server, connect_to(*server.address)() as connected:
        connected.settimeout(TIMEOUT)
        assert connected.recv(1) == b""
        until(lambda: not server.count_connections())


def test_who_says_little_is_sent_away_in_time() -> None:
    limits = HttpLimits(idle=LONG, request=0.5)
    with serving(limits) as server, connect_to(*server.address)() as connected:
        connected.sendall(b"GET / HTTP/1.1\r\nX: ")
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


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        pytest.param(b"GET / HTTP/1.1\r\nX: " + b"y" * 5000, b" 431 ", id="a long head"),
        pytest.param(b"GET / HTTP/1.1\r\nX: " + b"y" * 3000 + b"\r\n\r\n", b" 200 ", id="usual"),
        pytest.param(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", b" 405 ", id="POST"),
    ],
)
def test_the_size_of_a_head_and_its_method_count(request_: bytes, told: bytes) -> None:
    limits = HttpLimits(idle=LONG, request=LONG)  # a client may be slow
    with serving(limits) as server, connect_to(*server.address)() as connected:
        connected.sendall(request_)
        answer = connected.recv(4096)
        assert answer.startswith(b"HTTP/1.1" + told)
        assert (b"\r\nAllow: GET\r\n" in answer) is (told == b" 405 ")


def sent(connected: socket.socket, text: bytes) -> bool:
    try:
        connected.sendall(text)
    except OSError:
        return False
    return True
