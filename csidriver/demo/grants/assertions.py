"""Clients that authenticate with signed assertions (RFC 7523, section 2.2).

They sign them themselves (private_key_jwt), or another issuer does, which the server trusts for one
subject.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from csidriver.demo.families import OAuthError, RegisteredClient

JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
# Seconds that an assertion may have left. Servers differ; these are short enough for all of them.
MAX_OWN_LIFE = 300.0
MAX_FOREIGN_LIFE = 3600.0


class AssertionVerifier:
    """Finds the client that an assertion authenticates; `issuer` is this server's identifier."""

    def __init__(
        self,
        clients: Iterable[RegisteredClient],
        issuer: str,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._clients = list(clients)
        self._issuer = issuer
        self._now = now
        self._lock = threading.Lock()
        self._used: dict[tuple[str, str], float] = {}

    @property
    def is_needed(self) -> bool:
        return any(client.public_keys or client.trust for client in self._clients)

    def authenticate(self, form: Mapping[str, str]) -> RegisteredClient:
        """Return the client of `client_assertion`, or raise OAuthError."""
        from csidriver.demo.grants import signatures  # noqa: PLC0415 - the demo lacks PyJWT

        assertion = form["client_assertion"]
        claims = signatures.unverified_claims(assertion)
        client = self._find(claims)
        if client is None or not signatures.is_signed(assertion, client):
            raise _refusal("no client has its issuer, its subject and its signature")
        if form.get("client_assertion_type") != JWT_BEARER:
            raise _refusal("client_assertion_type is unknown")
        if form.get("client_id", client.client_id) != client.client_id:
            raise _refusal("client_id is another one")
        self._check(client, claims)
        return client

    def _find(self, claims: Mapping[str, Any]) -> RegisteredClient | None:
        issuer, subject = claims.get("iss"), claims.get("sub")
        for client in self._clients:
            trust = client.trust
            if trust is not None and (issuer, subject) == (trust.issuer, trust.subject):
                return client
            if client.public_keys and issuer == subject == client.client_id:
                return client
        return None

    def _check(self, client: RegisteredClient, claims: Mapping[str, Any]) -> None:
        """Raise OAuthError unless an assertion is for this server, and for now."""
        audience = claims.get("aud")
        if client.trust is not None:
            named = audience if isinstance(audience, list) else [audience]
            is_for_this = (client.trust.audience or self._issuer) in named
        else:
            # One value: with more, another server could present the assertion (RFC 7523bis).
            is_for_this = audience == (client.audience or self._issuer)
        if not is_for_this:
            raise _refusal("its audience is not the one that is expected")
        now, expiry = self._now(), claims.get("exp")
        max_life = MAX_FOREIGN_LIFE if client.trust else MAX_OWN_LIFE
        if not isinstance(expiry, int | float) or not now < expiry <= now + max_life:
            raise _refusal("it has expired, or lives for too long")
        if client.trust is None:
            self._use(client.client_id, str(claims.get("jti", "")), expiry)

    def _use(self, client_id: str, name: str, expiry: float) -> None:
        with self._lock:
            now = self._now()
            self._used = {each: end for each, end in self._used.items() if now < end}
            if not name or (client_id, name) in self._used:
                raise _refusal("it has no jti, or was used before")
            self._used[client_id, name] = expiry


def _refusal(why: str) -> OAuthError:
    return OAuthError("invalid_client", f"the client's assertion is refused: {why}")
