"""Lengths of bodies, and the end of connections."""

import socket
import threading
from urllib.parse import urlsplit

import pytest
import requests

from csidriver.core.sensitive import Sensitive
from csidriver.demo.families import RegisteredClient
from tests.demo.client import TIMEOUT
from tests.issuer.issuer import ScriptedIssuer

CLIENTS = [RegisteredClient("app", Sensitive("s3cret"))]


@pytest.mark.parametrize("header", ["Transfer-Encoding: chunked", "X: y"])
def test_a_body_without_a_length_is_refused(header: str) -> None:
    with ScriptedIssuer(clients=CLIENTS) as issuer:
        parts = urlsplit(issuer.url)
        with socket.create_connection((str(parts.hostname), int(parts.port or 0)), TIMEOUT) as raw:
            raw.sendall(f"POST /token HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n".encode())
            assert raw.makefile("rb").readline().split()[1] == b"411"


def test_stop_ends_idle_connections_and_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    with ScriptedIssuer(clients=CLIENTS) as issuer, requests.Session() as session:
        assert session.get(issuer.url, timeout=TIMEOUT).status_code == 404
        stopping = threading.Thread(target=issuer.stop)
        stopping.start()
        stopping.join(TIMEOUT)
        left = set(threading.enumerate()) - before
    assert not left
