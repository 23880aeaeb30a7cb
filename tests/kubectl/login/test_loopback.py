import pytest

from csidriver.kubectl.errors import LoginFailed
from csidriver.kubectl.login.loopback import DEFAULT_REDIRECT, PORTS, Redirect, is_loopback


def test_this_machine_alone_is_loopback() -> None:
    assert all(map(is_loopback, ("LOCALHOST", "127.8.8.8", "::1")))
    assert not any(map(is_loopback, ("", "10.0.0.1", "127.0.0.1.example.org", "0.0.0.0")))


@pytest.mark.parametrize(
    ("redirect", "uri", "address", "ports"),
    [
        (DEFAULT_REDIRECT, "http://127.0.0.1:8000/callback", "127.0.0.1", (8000, 18000, 0)),
        ("http://localhost", "http://localhost:8000", "127.0.0.1", PORTS),
        ("http://[::1]:9000/x", "http://[::1]:9000/x", "::1", (9000,)),
    ],
)
def test_another_address_may_be_registered(
    redirect: str, uri: str, address: str, ports: tuple[int, ...]
) -> None:
    found = Redirect.parse(redirect)
    assert (found.uri(found.ports[0]), found.bind_address, found.ports) == (uri, address, ports)


@pytest.mark.parametrize(
    "url",
    [
        *("", "localhost:8000", "https://localhost:8000", "http://example.org", "http://[::1"),
        *("http://localhost/?a=b", "http://a:b@localhost", "http://l:x"),
    ],
)
def test_only_this_machine_may_take_the_answer(url: str) -> None:
    with pytest.raises(LoginFailed, match="must be an http address of this machine"):
        Redirect.parse(url)
