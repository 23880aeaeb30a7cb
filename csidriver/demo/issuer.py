"""The strict authorization server, as tests and the demo use it."""

import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Self

from csidriver.core.sensitive import Sensitive
from csidriver.demo.endpoints import IssuerEndpoints
from csidriver.demo.families import Policy, RegisteredClient, TokenFamilies
from csidriver.demo.faults import Fault
from csidriver.demo.jwt import verify_jwt
from csidriver.demo.presentation_log import Presentation, most_presentations
from csidriver.demo.server import IssuerServer

log = logging.getLogger(__name__)

DEMO_CLIENT = RegisteredClient(
    "my-app", Sensitive("my-app-client-secret")
)  # as the announcement has it
DEMO_SEED = Sensitive("eyJhbG...")
_STRICT = Policy()
_POLL_SECONDS = 0.02  # the accepting thread notices a stop after this time


class StrictIssuer:
    """An authorization server with strict rotation and injected faults.

    `issuer` is its identifier: empty for the bound address, a path below it ("/realms/x"), or a
    whole URL. A restarted server keeps its port, its families and its faults.
    """

    def __init__(
        self,
        *,
        clients: Iterable[RegisteredClient],
        policy: Policy = _STRICT,
        address: tuple[str, int] = ("127.0.0.1", 0),
        issuer: str = "",
        now: Callable[[], float] = time.time,
    ) -> None:
        self.signing_key = secrets.token_bytes(32)
        self._families = TokenFamilies(clients, key=self.signing_key, policy=policy, now=now)
        self._faults: deque[Fault] = deque()
        self._address = address
        self._issuer = issuer
        self._server_and_thread: tuple[IssuerServer, threading.Thread] | None = None

    @property
    def url(self) -> str:
        if self._issuer and not self._issuer.startswith("/"):
            return self._issuer
        host, port = self._address
        if not port:
            raise RuntimeError("the port is not known before start()")
        return f"http://{host}:{port}{self._issuer}"

    @property
    def policy(self) -> Policy:
        """The behaviour from the next request on; assign a new one at any time."""
        return self._families.policy

    @policy.setter
    def policy(self, policy: Policy) -> None:
        self._families.policy = policy

    def start(self) -> None:
        if self._server_and_thread:
            raise RuntimeError("the issuer is already running")
        server = IssuerServer(self._address)
        self._address = self._address[0], server.server_address[1]
        server.attach(IssuerEndpoints(self._families, self.url), self._faults)
        thread = threading.Thread(
            target=server.serve_forever, args=(_POLL_SECONDS,), name="demo-issuer", daemon=False
        )
        thread.start()
        self._server_and_thread = server, thread

    def stop(self) -> None:
        """Close all connections and wait for every thread; harmless if stopped already."""
        if self._server_and_thread:
            (server, thread), self._server_and_thread = self._server_and_thread, None
            server.stop()
            thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def seed(self, client_id: str, refresh_token: Sensitive | None = None) -> Sensitive:
        """Start a family with this refresh token, or a new one; works before start()."""
        return self._families.seed(client_id, refresh_token)

    def revoke(self, refresh_token: Sensitive) -> None:
        self._families.revoke(refresh_token)

    def presentations(self) -> tuple[Presentation, ...]:
        return self._families.presentations()

    def max_presentations(self) -> int:
        """Return the largest number of presentations of one rotated refresh token."""
        return most_presentations(self.presentations())

    def add_faults(self, *faults: Fault) -> None:
        """Queue faults; each token request consumes one."""
        self._faults.extend(faults)

    def verify(self, access_token: str) -> Mapping[str, object] | None:
        """Return the claims of an access token of this issuer, else None; ignores its expiry."""
        return verify_jwt(access_token, self.signing_key)


def serve(
    address: tuple[str, int],
    issuer: str,
    seeds: Sequence[Sensitive],
    stop: threading.Event,
    *,
    policy: Policy = _STRICT,
) -> None:
    """Serve until `stop`; the announcement's seed and each of `seeds` start a family."""
    server = StrictIssuer(clients=[DEMO_CLIENT], policy=policy, address=address, issuer=issuer)
    for seed in dict.fromkeys([DEMO_SEED, *seeds]):
        server.seed(DEMO_CLIENT.client_id, seed)
    with server:
        log.info("serving issuer %s", server.url)
        stop.wait()
