import pytest

from csidriver.kubectl.errors import LoginFailed
from csidriver.kubectl.login.loopback import DEFAULT_REDIRECT, PORTS, Redirect, is_loopback


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.8.8.8", "::1"])
def test_this_machine_is_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "example.org", "10.0.0.1", "127.0.0.1.example.org", "0.0.0.0"]
)
def test_others_are_not(host: str) -> None:
    assert not is_loopback(host)


def test_the_default_address_has_the_ports_that_clients_register() -> None:
    redirect = Redirect.parse(DEFAULT_REDIRECT)
    assert redirect.ports == PORTS == (8000, 18000, 0)
    assert redirect.uri(8000) == "http://127.0.0.1:8000/callback"
    assert redirect.bind_address == "127.0.0.1"


@pytest.mark.parametrize(
    ("url", "uri", "address", "ports"),
    [
        ("http://localhost", "http://localhost:8000", "127.0.0.1", PORTS),
        ("http://localhost:9000/", "http://localhost:9000/", "127.0.0.1", (9000,)),
        ("http://[::1]:9000/x", "http://[::1]:9000/x", "::1", (9000,)),
    ],
)
def test_another_address_may_be_registered(
    url: str, uri: str, address: str, ports: tuple[int, ...]
) -> None:
    redirect = Redirect.parse(url)
    assert redirect.uri(redirect.ports[0]) == uri
    assert (redirect.bind_address, redirect.ports) == (address, ports)


@pytest.mark.parametrize(
    "url",
    [
        *("", "localhost:8000", "https://localhost:8000", "http://example.org", "http://[::1"),
        *("http://localhost/?a=b", "http://localhost/#a", "http://a:b@localhost", "http://l:x"),
    ],
)
def test_only_this_machine_may_take_the_answer(url: str) -> None:
    with pytest.raises(LoginFailed, match="must be an http address of this machine"):
        Redirect.parse(url)
