"""Refresh token families under strict rotation, without HTTP.

A family is all refresh tokens that descend from one sign-in. The presentation of a replaced token
revokes its family (RFC 9700, section 4.14.2).
"""

import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from csidriver.core.sensitive import Sensitive
from csidriver.demo.jwt import sign_jwt
from csidriver.demo.presentation_log import Outcome, Presentation
from csidriver.errors import DriverError

SCOPE = "offline_access profile email"


@dataclass(frozen=True, slots=True)
class RegisteredClient:
    """A registered client; a public client has no secret."""

    client_id: str
    client_secret: Sensitive | None


class OAuthError(DriverError):
    """An error reply of RFC 6749, section 5.2."""

    def __init__(self, error: str, description: str) -> None:
        self.error = error
        self.description = description
        super().__init__(f"{error}: {description}")


REFUSALS: Mapping[str, tuple[str, str]] = {
    Outcome.REPLAYED: ("invalid_grant", "refresh token was replaced; its family is now revoked"),
    Outcome.REVOKED: ("invalid_grant", "refresh token is revoked"),
    Outcome.FOREIGN: ("invalid_grant", "refresh token was issued to another client"),
    Outcome.UNKNOWN: ("invalid_grant", "refresh token is unknown"),
    Outcome.INVALID_SCOPE: ("invalid_scope", "scope is wider than what was granted"),
}


@dataclass(slots=True)
class Family:
    """A family; `current` is the refresh token that no other has replaced."""

    client_id: str
    session: str
    current: Sensitive
    revoked: bool = False


class TokenFamilies:
    """All clients, families and presentations of one authorization server."""

    def __init__(
        self,
        clients: Iterable[RegisteredClient],
        *,
        key: bytes,
        lifetime: float,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._clients = {client.client_id: client for client in clients}
        self._key = key
        self._lifetime = lifetime
        self._now = now
        self._lock = threading.Lock()
        self._by_token: dict[Sensitive, Family] = {}  # replaced tokens too
        self._log: list[Presentation] = []

    def authenticate(self, client_id: str, secret: Sensitive | None) -> RegisteredClient:
        """Return the client with exactly this secret (None if public), or raise OAuthError."""
        client = self._clients.get(client_id)
        if client is None or client.client_secret != secret:
            raise OAuthError("invalid_client", "client is unknown, or its authentication failed")
        return client

    def seed(self, client_id: str, refresh_token: Sensitive | None) -> Sensitive:
        token = refresh_token or _new_refresh_token()
        with self._lock:
            self._by_token[token] = Family(client_id, secrets.token_hex(16), token)
        return token

    def refresh(
        self, client_id: str, token: Sensitive, *, scope: str, issuer: str
    ) -> dict[str, object]:
        """Return the fields of a token response, or raise OAuthError.

        Decision, rotation and log entry are one atomic step. An empty `scope` means the full scope.
        """
        with self._lock:
            now = self._now()
            family, outcome = self._find(client_id, token)
            if outcome not in REFUSALS and not set(scope.split()) <= set(SCOPE.split()):
                outcome = Outcome.INVALID_SCOPE
            if family is None or outcome in REFUSALS:
                if family and outcome == Outcome.REPLAYED:
                    family.revoked = True
                self._log.append(Presentation(now, client_id, token.hash(), outcome, ""))
                raise OAuthError(*REFUSALS[outcome])
            if outcome == Outcome.ROTATED:
                self._rotate(family)
            successor = family.current.hash()
            self._log.append(Presentation(now, client_id, token.hash(), outcome, successor))
            return self._token_response(family, now, scope=scope or SCOPE, issuer=issuer)

    def presentations(self) -> tuple[Presentation, ...]:
        with self._lock:
            return tuple(self._log)

    def _find(self, client_id: str, token: Sensitive) -> tuple[Family | None, str]:
        family = self._by_token.get(token)
        if family is None:
            return None, Outcome.UNKNOWN
        if family.client_id != client_id:
            return family, Outcome.FOREIGN
        if family.revoked:
            return family, Outcome.REVOKED
        return family, Outcome.ROTATED if token == family.current else Outcome.REPLAYED

    def _rotate(self, family: Family) -> None:
        family.current = _new_refresh_token()
        self._by_token[family.current] = family

    def _token_response(
        self, family: Family, now: float, *, scope: str, issuer: str
    ) -> dict[str, object]:
        claims = {
            "iss": issuer,
            "sub": "demo-user",
            "aud": family.client_id,
            "azp": family.client_id,
            "iat": int(now),
            "exp": int(now + self._lifetime),
            "jti": secrets.token_hex(16),
            "sid": family.session,
            "scope": scope,
        }
        return {
            "access_token": sign_jwt(claims, self._key),
            "token_type": "Bearer",
            "expires_in": int(self._lifetime),
            "refresh_token": family.current.reveal(),
            "refresh_expires_in": 0,
            "scope": scope,
            "session_state": family.session,
            "not-before-policy": 0,
        }


def _new_refresh_token() -> Sensitive:
    return Sensitive(secrets.token_urlsafe(32))
