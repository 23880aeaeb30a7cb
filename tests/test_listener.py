"""Listening sockets on hosts of every kind of addresses."""

import contextlib
import socket

import pytest

from csidriver.errors import InvalidSettings
from csidriver.listener import host_and_port, listen
from tests.network_namespace import HOSTS, IPV4, IPV4_FIRST, IPV6, Host, on

ALL = (IPV4, IPV6, "127.0.0.1", "::1")


def reached(host: str) -> set[str]:
    """The addresses of this host at which a socket is reached that listens on `host`."""
    found = set()
    with listen((host, 0)) as listener:
        for address in ALL:
            with contextlib.suppress(OSError):
                port = listener.getsockname()[1]
                socket.create_connection((address, port), timeout=5).close()
                found.add(address)
    return found


@pytest.mark.parametrize("host", HOSTS, ids=str)
def test_an_address_is_itself_no_host_every_one_and_localhost_the_loopback(host: Host) -> None:
    def listen_on_each() -> None:
        assert reached("::") == set(host.addresses)
        (loopback,) = reached("localhost")
        assert loopback == ("127.0.0.1" if "127.0.0.1" in host.addresses else "::1")
        for address in host.addresses:
            assert reached(address) == {address}

    on(host, listen_on_each)


@pytest.mark.parametrize("taken", ["0.0.0.0", "::", "127.0.0.1", "::1"])
def test_a_port_that_is_taken_in_one_family_is_taken(taken: str) -> None:
    def listen_twice() -> None:
        with listen((taken, 0)) as first:
            port = first.getsockname()[1]
            with pytest.raises(InvalidSettings, match=rf"\[::\]:{port}: Address already in use"):
                listen(("::", port))

    on(IPV4_FIRST, listen_twice)


def test_a_taken_port_of_localhost_is_not_sought_in_the_other_family() -> None:
    with listen(("127.0.0.1", 0)) as first, pytest.raises(InvalidSettings, match="in use"):
        listen(("localhost", first.getsockname()[1]))


@pytest.mark.parametrize("host", ["name.invalid", "no such name", "fd00::5::1"])
def test_what_is_no_address_is_told(host: str) -> None:
    with pytest.raises(InvalidSettings, match="is not an address"):
        listen((host, 0))


@pytest.mark.parametrize(
    ("address", "text"),
    [(("::", 1), "[::]:1"), (("10.0.0.1", 80), "10.0.0.1:80"), (("a.example", 80), "a.example:80")],
)
def test_an_address_is_written_as_urls_have_it(address: tuple[str, int], text: str) -> None:
    assert host_and_port(address) == text
