"""A scripted authorization server with a login page, and what stands for a user and his machine."""

import contextlib
import json
import webbrowser
from collections import deque
from collections.abc import Callable
from io import StringIO
from typing import Any
from urllib.parse import parse_qsl, urlencode
from urllib.request import ProxyHandler, build_opener

from csidriver.kubectl.terminal import Terminal
from tests.adapters.oauth.peer import WELL_KNOWN, Peer, http
from tests.waiting import until

TOKENS = {"access_token": "at-1", "refresh_token": "rt-1", "token_type": "Bearer", "expires_in": 60}
DEVICE = {"device_code": "dc-1", "user_code": "ABCD-EFGH", "interval": 1, "expires_in": 600}
PENDING = (400, {"error": "authorization_pending"})
SLOW_DOWN = (400, {"error": "slow_down"})


class AuthorizationServer(Peer):
    """Answers with what was scripted for a path, one after another, then with the standard ones.

    A reply is a status with JSON or bytes; None closes the connection. The login page redirects at
    once, with `code`.
    """

    def __init__(self, **metadata: Any) -> None:
        super().__init__(b"")
        self._scripted: dict[str, deque[tuple[int, Any] | None]] = {}
        self.code = "code-1"
        self.issuer = f"http://{self.address}"
        self.metadata = {
            "issuer": self.issuer,
            "token_endpoint": f"{self.issuer}/token",
            "authorization_endpoint": f"{self.issuer}/authorize",
            "device_authorization_endpoint": f"{self.issuer}/device",
            "scopes_supported": ["openid", "offline_access"],
            "authorization_response_iss_parameter_supported": True,
            **metadata,
        }

    def script(self, path: str, *replies: tuple[int, Any] | None) -> None:
        self._scripted.setdefault(path, deque()).extend(replies)

    def sent_to(self, path: str) -> list[dict[str, str]]:
        """Return the parameters of the requests for a path."""
        read = [_read(request) for request in self.requests]
        return [form for found, form in read if found == path]

    def reply_to(self, request: str) -> bytes:
        path, form = _read(request)
        scripted = self._scripted.get(path)
        reply = scripted.popleft() if scripted else self._standard(path)
        if reply is None:
            return b""
        status, content = reply
        headers = "Content-Type: application/json\r\n"
        if path == "/authorize":
            found = {"code": self.code, "state": form["state"], "iss": self.issuer}
            headers += f"Location: {form['redirect_uri']}?{urlencode(found)}\r\n"
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        return http(body, f"{status} It", headers)

    def _standard(self, path: str) -> tuple[int, Any]:
        standard = {
            WELL_KNOWN: (200, self.metadata),
            "/token": (200, TOKENS),
            "/device": (200, DEVICE | {"verification_uri": f"{self.issuer}/go"}),
            "/authorize": (302, b""),
        }
        return standard.get(path, (404, {}))


def _read(request: str) -> tuple[str, dict[str, str]]:
    """Return path and parameters of a request."""
    head, _, body = request.partition("\r\n\r\n")
    path, _, query = head.split(" ", 2)[1].partition("?")
    return path, dict(parse_qsl(query or body))


class VirtualClock:
    """A clock that a wait moves."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.waits: list[float] = []
        self.after_wait: Callable[[], None] = lambda: None

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds
        self.after_wait()


class FakeTerminal(Terminal):
    """Keeps what is printed."""

    def __init__(self) -> None:
        self.out, self.err = StringIO(), StringIO()
        super().__init__(self.out, self.err)

    @property
    def text(self) -> str:
        return self.out.getvalue() + self.err.getvalue()


class FakeBrowser(webbrowser.BaseBrowser):
    """Opens a page and follows its redirects."""

    def __init__(self) -> None:
        super().__init__("fake")
        self.before_open: Callable[[], object] = lambda: None
        self.opened: list[str] = []
        self._complete = 0

    def open(self, url: str, new: int = 0, autoraise: bool = True) -> bool:  # noqa: ARG002, FBT001, FBT002
        self.before_open()
        self.opened.append(url)
        fetch(url)
        self._complete += 1
        return True

    def join(self) -> None:
        until(lambda: self._complete == len(self.opened), "all pages are complete")


def fetch(url: str) -> None:
    """Open a page, if there is one."""
    with contextlib.suppress(OSError):
        build_opener(ProxyHandler({})).open(url, timeout=10).close()
