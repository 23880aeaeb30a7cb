"""A scripted authorization server with a login page, and what stands for a user and his machine."""

import contextlib
import json
import threading
import webbrowser
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from typing import Any, Self
from urllib.parse import parse_qs, urlencode
from urllib.request import ProxyHandler, build_opener

from csidriver.kubectl.terminal import Terminal
from tests.refresher.bench import until

TOKENS = {"access_token": "at-1", "refresh_token": "rt-1", "token_type": "Bearer", "expires_in": 60}
DEVICE = {"device_code": "dc-1", "user_code": "ABCD-EFGH", "interval": 1, "expires_in": 600}
PENDING = (400, {"error": "authorization_pending"})
SLOW_DOWN = (400, {"error": "slow_down"})


@dataclass
class Sent:
    """A request as the server got it."""

    path: str
    form: dict[str, str]
    headers: Mapping[str, str] = field(repr=False)


class AuthorizationServer:
    """Answers with `replies` by path, one after another, then with the standard ones.

    A reply is a status with JSON or bytes; None closes the connection. The login page redirects at
    once; `alter` changes the parameters of the redirect. `metadata` overrides keys; None drops one.
    """

    def __init__(self, **metadata: Any) -> None:
        self.replies: dict[str, deque[tuple[int, Any] | None]] = {}
        self.requests: list[Sent] = []
        self.alter: Callable[[dict[str, str]], None] = lambda _: None
        server = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                path, _, query = self.path.partition("?")
                server.serve(self, path, query)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                server.serve(self, self.path, body.decode())

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._metadata = metadata

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def metadata(self) -> dict[str, Any]:
        document = {
            "issuer": self.issuer,
            "token_endpoint": f"{self.issuer}/token",
            "authorization_endpoint": f"{self.issuer}/authorize",
            "device_authorization_endpoint": f"{self.issuer}/device",
            "scopes_supported": ["openid", "offline_access"],
            "authorization_response_iss_parameter_supported": True,
            **self._metadata,
        }
        return {key: value for key, value in document.items() if value is not None}

    def script(self, path: str, *replies: tuple[int, Any] | None) -> None:
        self.replies.setdefault(path, deque()).extend(replies)

    def sent_to(self, path: str) -> list[dict[str, str]]:
        return [sent.form for sent in self.requests if sent.path == path]

    def serve(self, handler: BaseHTTPRequestHandler, path: str, text: str) -> None:
        form = {name: values[0] for name, values in parse_qs(text).items()}
        self.requests.append(Sent(path, form, dict(handler.headers)))
        reply = self.replies[path].popleft() if self.replies.get(path) else self._standard(path)
        if reply is None:
            handler.close_connection = True
            return
        status, content = reply
        headers = {"Content-Type": "application/json"}
        if path == "/authorize" and status == 302:
            headers["Location"] = self._redirect(form)
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        handler.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    def _standard(self, path: str) -> tuple[int, Any]:
        if path == "/.well-known/openid-configuration":
            return 200, self.metadata
        pages = {"/token": TOKENS, "/device": DEVICE | {"verification_uri": f"{self.issuer}/go"}}
        if path == "/authorize":
            return 302, b""
        return (200, pages[path]) if path in pages else (404, {})

    def _redirect(self, form: Mapping[str, str]) -> str:
        found = {"code": "code-1", "state": form["state"], "iss": self.issuer}
        self.alter(found)
        return f"{form['redirect_uri']}?{urlencode(found)}"


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
