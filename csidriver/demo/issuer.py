"""The strict authorization server of the demo; that of the tests can do more."""

import logging
import secrets
import threading
from collections.abc import Iterable, Sequence
from typing import Self

from csidriver.core.sensitive import Sensitive
from csidriver.demo.endpoints import IssuerEndpoints
from csidriver.demo.families import RegisteredClient, TokenFamilies
from csidriver.demo.grants.token_grants import TokenGrants
from csidriver.demo.logins import PendingLogins
from csidriver.demo.presentation_log import Presentation, most_presentations
from csidriver.demo.server import IssuerServer
from csidriver.listener import host_and_port

log = logging.getLogger(__name__)

DEMO_CLIENT = RegisteredClient(
    "my-app", Sensitive("my-app-client-secret")
)  # as the announcement has it
DEMO_SEED = Sensitive("eyJhbG...")
# A public client: whoever logs in on this machine has no secret to keep.
LOGIN_CLIENT = RegisteredClient("kubectl-oauth2-csi", None)
# Of the server in a cluster, so that it knows its tokens after a restart. Not a secret.
_CLUSTER_KEY = b"the key of the demo, which anybody may know"


class StrictIssuer:
    """An authorization server with strict rotation, which serves inside a `with` block.

    `issuer` is its identifier: empty for the bound address, a path below it ("/realms/x"), or a
    whole URL. `lifetime` is that of access tokens, in seconds. With the same `key`, another one
    knows its refresh tokens.
    """

    def __init__(
        self,
        *,
        clients: Iterable[RegisteredClient],
        lifetime: float = 20.0,
        address: tuple[str, int] = ("localhost", 0),
        issuer: str = "",
        key: bytes = b"",
    ) -> None:
        self.signing_key = key or secrets.token_bytes(32)
        self._families = TokenFamilies(clients, key=self.signing_key, lifetime=lifetime)
        self.grants = TokenGrants(self._families)
        self.logins = PendingLogins()
        self._address = address
        self._issuer = issuer

    @property
    def url(self) -> str:
        if self._issuer and not self._issuer.startswith("/"):
            return self._issuer
        return f"http://{host_and_port(self._address)}{self._issuer}"

    def __enter__(self) -> Self:
        self._server = IssuerServer(self._address)
        self._address = self._server.address
        self._server.endpoints = self._endpoints()
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    def _endpoints(self) -> IssuerEndpoints:
        return IssuerEndpoints(self._families, self.grants, self.logins, self.url)

    def seed(self, client_id: str, refresh_token: Sensitive | None = None) -> Sensitive:
        """Start a family with this refresh token, or with a new one."""
        return self._families.seed(client_id, refresh_token)

    def presentations(self) -> tuple[Presentation, ...]:
        return self._families.presentations()

    def max_presentations(self) -> int:
        """Return the largest number of presentations of one rotated refresh token."""
        return most_presentations(self.presentations())


def serve(
    address: tuple[str, int],
    issuer: str,
    seeds: Sequence[Sensitive],
    lifetime: float,
    stop: threading.Event,
) -> None:
    """Serve until `stop`; the announcement's seed and each of `seeds` start a family."""
    server = StrictIssuer(
        clients=[DEMO_CLIENT, LOGIN_CLIENT],
        lifetime=lifetime,
        address=address,
        issuer=issuer,
        key=_CLUSTER_KEY,
    )
    for seed in [DEMO_SEED, *seeds]:
        server.seed(DEMO_CLIENT.client_id, seed)
    with server:
        log.info("serving issuer %s", server.url)
        stop.wait()
