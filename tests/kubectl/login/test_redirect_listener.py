import socket

import pytest
import requests

from csidriver.core.sensitive import Sensitive
from csidriver.kubectl.errors import LoginFailed
from csidriver.kubectl.login.loopback import Redirect
from csidriver.kubectl.login.redirect_listener import RedirectListener

ANY = Redirect("127.0.0.1", "/callback", (0,))


def get(url: str) -> tuple[int, str]:
    with requests.Session() as session:
        session.trust_env = False  # it may name a proxy
        reply = session.get(url, timeout=10)
    return reply.status_code, reply.text


def ignore(_: str) -> None:
    pass


def test_the_redirect_is_taken_and_the_page_tells_nothing_of_it() -> None:
    with RedirectListener(ANY, ignore) as listener:
        status, page = get(f"{listener.redirect_uri}?code=c1&state=s1")
        assert status == 200
        assert "c1" not in page
        assert "close this page" in page
        assert listener.wait() == Sensitive("code=c1&state=s1")


def test_other_paths_are_not_found_and_change_nothing() -> None:
    with RedirectListener(ANY, ignore) as listener:
        for path in ("/favicon.ico", "", "/x?code=c0"):
            assert get(listener.redirect_uri + path)[0] == 404
        get(f"{listener.redirect_uri}?code=c1")
        assert listener.wait() == Sensitive("code=c1")


def test_a_second_redirect_is_refused_and_a_silent_connection_harmless() -> None:
    with RedirectListener(ANY, ignore) as listener, socket.socket() as silent:
        port = int(listener.redirect_uri.split(":")[2].split("/")[0])
        silent.connect(("127.0.0.1", port))
        assert get(f"{listener.redirect_uri}?code=c1")[0] == 200
        assert get(f"{listener.redirect_uri}?code=c2")[0] == 410
        assert listener.wait() == Sensitive("code=c1")
        with pytest.raises(OSError, match="refused"):
            get(f"{listener.redirect_uri}?code=c3")


def test_a_busy_port_is_named_and_the_next_one_is_taken() -> None:
    said: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        with RedirectListener(Redirect("127.0.0.1", "/callback", (port, 0)), said.append) as other:
            assert said == [f"Port {port} is in use."]
            assert get(f"{other.redirect_uri}?code=c1")[0] == 200
        with pytest.raises(LoginFailed, match=f"{port} is in use; .* --device or --no-browser"):
            RedirectListener(Redirect("127.0.0.1", "/callback", (port,)), ignore)


def test_without_an_answer_the_wait_ends_and_names_the_address() -> None:
    with RedirectListener(ANY, ignore) as listener:
        with pytest.raises(LoginFailed, match=f"register {listener.redirect_uri}"):
            listener.wait(0.01)
        with pytest.raises(OSError, match="refused"):
            get(f"{listener.redirect_uri}?code=c1")
