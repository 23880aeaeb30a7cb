"""The strict authorization server with policies, introspection and injected faults."""

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Self

from csidriver.core.sensitive import Sensitive
from csidriver.demo.families import RegisteredClient
from csidriver.demo.grants.token_grants import TokenGrants
from csidriver.demo.issuer import StrictIssuer
from csidriver.demo.jwt import verify_jwt
from tests.issuer.endpoints import PolicyEndpoints
from tests.issuer.faults import Fault
from tests.issuer.policy import Policy, PolicyFamilies
from tests.issuer.server import FaultyServer

_STRICT = Policy()


class ScriptedIssuer(StrictIssuer):
    """An authorization server that tests can start, stop, and let fail.

    Started again, it keeps its port, its families and its faults.
    """

    _families: PolicyFamilies

    def __init__(
        self,
        *,
        clients: Iterable[RegisteredClient],
        policy: Policy = _STRICT,
        address: tuple[str, int] = ("localhost", 0),
        issuer: str = "",
    ) -> None:
        super().__init__(clients=(), address=address, issuer=issuer)
        self._families = PolicyFamilies(clients, key=self.signing_key, policy=policy)
        self.grants = TokenGrants(self._families)
        self._faults: deque[Fault] = deque()
        self._running: FaultyServer | None = None

    @property
    def policy(self) -> Policy:
        """The behaviour from the next request on; assign a new one at any time."""
        return self._families.policy

    @policy.setter
    def policy(self, policy: Policy) -> None:
        self._families.policy = policy

    def start(self) -> None:
        server = FaultyServer(self._address, self._faults)
        self._address = server.address
        server.endpoints = self._endpoints()
        server.start()
        self._running = server

    def stop(self) -> None:
        """Close all connections and wait for every thread; harmless if stopped already."""
        if self._running:
            server, self._running = self._running, None
            server.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _endpoints(self) -> PolicyEndpoints:
        return PolicyEndpoints(self._families, self.grants, self.logins, self.url)

    def revoke(self, refresh_token: Sensitive) -> None:
        self._families.revoke(refresh_token)

    def add_faults(self, *faults: Fault) -> None:
        self._faults.extend(faults)

    def verify(self, access_token: str) -> Mapping[str, object] | None:
        """Return the claims of an access token of this issuer, else None; ignores its expiry."""
        return verify_jwt(access_token, self.signing_key)
