"""npm's oidc-provider, as a process that ends with whoever started it."""

import contextlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from csidriver.core.refresh.source import Client
from csidriver.core.sensitive import Sensitive
from tools.programs import find, source

# Seconds an access token lives where a test waits for refreshes. An exchange may take a sixteenth.
SHORT = 8.0


@dataclass(frozen=True, slots=True)
class Registered:
    """A client, the one method by which it may authenticate, and seconds of its access tokens."""

    client: Client
    auth: str = "client_secret_basic"
    lifetime: float = 3600.0
    # Further metadata: what a client that uses other grants, or has a key, must be registered with.
    more: Mapping[str, Any] = field(default_factory=dict)

    def metadata(self) -> dict[str, Any]:
        """Return the client's metadata (RFC 7591, section 2)."""
        said = {
            "client_id": self.client.client_id,
            "token_endpoint_auth_method": self.auth,
            "lifetime": self.lifetime,
        }
        secret = self.client.client_secret
        return said | ({"client_secret": secret.reveal()} if secret else {}) | dict(self.more)


@dataclass(frozen=True, slots=True)
class PeerLog:
    """The server's log: refresh tokens presented and introspected, as hashes; other requests."""

    presented: list[dict[str, Any]] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    granted: list[dict[str, Any]] = field(default_factory=list)

    @property
    def hashes(self) -> list[str]:
        return [row["rt"] for row in self.presented]

    @property
    def errors(self) -> list[str]:
        """Return the error of each presentation, "" for success."""
        return [row["error"] for row in self.presented]


class OidcProvider(contextlib.ExitStack):
    """A running server; `issuer` is its identifier."""

    def __init__(self, clients: Sequence[Registered]) -> None:
        super().__init__()
        home, node = find("oidc-provider"), shutil.which("node")
        assert home is not None
        assert node is not None
        self._log = Path(self.enter_context(tempfile.TemporaryDirectory())) / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - a program of ours
                [node, str(source("oidc-provider") / "server.mjs"), str(home)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.enter_context(self._process)
        self.callback(self._process.kill)
        self.issuer = self._exchange([client.metadata() for client in clients])["issuer"]

    def seed(self, client: Client) -> Sensitive:
        answer = self._exchange({"command": "seed", "client": client.client_id})
        return Sensitive(answer["refresh_token"])

    def lose_next(self, message: str) -> None:
        """Lose the "request" or the "answer" of the next exchange."""
        self._exchange({"command": "cut", "what": message})

    def log(self) -> PeerLog:
        return PeerLog(**self._exchange({"command": "told"}))

    def post(self, path: str, client: Client, **form: str) -> requests.Response:
        """Send a request with the client's credentials, as another process would."""
        pair = (client.client_id, client.client_secret.reveal())
        with requests.Session() as session:
            session.trust_env = False
            return session.post(self.issuer + path, data=form, auth=pair, timeout=10)

    def _exchange(self, message: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(message), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            log = self._log.read_text(errors="replace")
            raise AssertionError(f"oidc-provider ended:\n{log[-4000:]}")
        return json.loads(line)
