"""Names with several addresses: 127.0.0.2 and so on stand for the dead ones."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from csidriver.adapters.oauth.happy_eyeballs import ATTEMPT_DELAY
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.token_response import Success
from tests.adapters.oauth.peer import BRIEF, LATE, Peer, free_port, http, refresh, signal

LIVE, DEAD, REFUSING = "127.0.0.1", "127.0.0.2", "127.0.0.3"
BROKEN = "255.255.255.255"


@pytest.fixture
def resolved(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses of every name."""
    addresses: list[str] = []

    def getaddrinfo(_: str, port: int, *_a: Any, **_o: Any) -> list[Any]:
        stream = socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, ""
        return [(*stream, (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return addresses


@contextmanager
def dropping(port: int) -> Iterator[None]:
    """Let DEAD answer no attempt to connect: its backlog is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((DEAD, port))
        listener.listen(0)
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex((DEAD, port))
        yield


def named(port: int) -> Issuer:
    return Issuer("dual", token_endpoint=f"http://dual.test:{port}/token", internal=True)


@pytest.mark.parametrize(
    ("addresses", "delays"),
    [
        ([LIVE, DEAD], 0),
        ([DEAD, DEAD, LIVE], 2),
        ([DEAD, REFUSING, BROKEN, LIVE], 1),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_dead_address_costs_a_quarter_of_a_second(
    resolved: list[str], addresses: list[str], delays: int
) -> None:
    resolved += addresses
    with Peer(http()) as peer:
        port = int(peer.address.rpartition(":")[2])
        with dropping(port):
            began = time.monotonic()
            assert isinstance(refresh(named(port), timeout=2.5), Success)
            assert time.monotonic() - began >= delays * ATTEMPT_DELAY
        assert (peer.connections, len(peer.requests)) == (1, 1)


@pytest.mark.parametrize("addresses", [[BROKEN], [DEAD, REFUSING], []])
def test_without_a_live_address_nothing_is_sent(resolved: list[str], addresses: list[str]) -> None:
    resolved += addresses
    port = free_port()
    with dropping(port):
        began = time.monotonic()
        assert signal(refresh(named(port), timeout=BRIEF)) is FailureReason.UNREACHABLE
        assert time.monotonic() - began < LATE
