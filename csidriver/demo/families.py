"""Refresh token families under strict rotation, without HTTP.

A family is all refresh tokens that descend from one sign-in. The presentation of a replaced token
revokes its family (RFC 9700, section 4.14.2).
"""

import secrets
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from csidriver.core.sensitive import Sensitive
from csidriver.demo.jwt import sign_jwt, verify_jwt
from csidriver.demo.presentation_log import Outcome, Presentation
from csidriver.errors import DriverError

SCOPE = "offline_access profile email"


@dataclass(frozen=True, slots=True)
class Policy:
    """The server's behaviour. Times in seconds."""

    lifetime: float = 20.0  # of an access token; short, so that the demo shows renewals
    refresh_lifetime: float = 0  # of a refresh token; 0: no expiry
    rotate: bool = True
    grace: float = 0.0  # after a rotation the replaced token still gets the same successor
    omit: frozenset[str] = frozenset()  # fields left out of replies; the server's state is the same
    extra: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    introspection: bool = True  # advertised in the metadata, and served


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


_ACCEPTED = frozenset({Outcome.ROTATED, Outcome.REUSED})
_REFUSALS = {
    Outcome.REPLAYED: ("invalid_grant", "refresh token was replaced; its family is now revoked"),
    Outcome.REVOKED: ("invalid_grant", "refresh token is revoked"),
    Outcome.EXPIRED: ("invalid_grant", "refresh token has expired"),
    Outcome.FOREIGN: ("invalid_grant", "refresh token was issued to another client"),
    Outcome.UNKNOWN: ("invalid_grant", "refresh token is unknown"),
    Outcome.INVALID_SCOPE: ("invalid_scope", "scope is wider than what was granted"),
}


@dataclass(slots=True)
class _Family:
    client_id: str
    session: str
    current: Sensitive
    expires_at: float  # epoch seconds of `current`, 0: never
    previous: Sensitive | None = None
    replaced_at: float = 0  # epoch seconds when `previous` was
    revoked: bool = False


class TokenFamilies:
    """All clients, families and presentations of one authorization server."""

    def __init__(
        self,
        clients: Iterable[RegisteredClient],
        *,
        key: bytes,
        policy: Policy,
        now: Callable[[], float],
    ) -> None:
        self.policy = policy
        self._clients = {client.client_id: client for client in clients}
        self._key = key
        self._now = now
        self._lock = threading.Lock()
        self._by_token: dict[Sensitive, _Family] = {}  # replaced tokens too
        self._by_session: dict[str, _Family] = {}
        self._log: list[Presentation] = []

    def authenticate(self, client_id: str, secret: Sensitive | None) -> RegisteredClient:
        """Return the client with exactly this secret (None if public), or raise OAuthError."""
        client = self._clients.get(client_id)
        if client is None or client.client_secret != secret:
            raise OAuthError("invalid_client", "client is unknown, or its authentication failed")
        return client

    def seed(self, client_id: str, refresh_token: Sensitive | None) -> Sensitive:
        if client_id not in self._clients:
            raise ValueError(f"no such client: {client_id}")
        token = refresh_token or _new_refresh_token()
        with self._lock:
            if token in self._by_token:
                raise ValueError("this refresh token started a family already")
            family = _Family(client_id, secrets.token_hex(16), token, self._expiry(self._now()))
            self._by_token[token] = self._by_session[family.session] = family
        return token

    def revoke(self, refresh_token: Sensitive) -> None:
        with self._lock:
            if refresh_token not in self._by_token:
                raise ValueError("no family has this refresh token")
            self._by_token[refresh_token].revoked = True

    def refresh(
        self, client_id: str, token: Sensitive, *, scope: str, issuer: str
    ) -> dict[str, object]:
        """Return the fields of a token response, or raise OAuthError.

        Decision, rotation and log entry are one atomic step. An empty `scope` means the full scope.
        """
        with self._lock:
            now = self._now()
            family, outcome = self._find(client_id, token, now)
            if outcome in _ACCEPTED and not set(scope.split()) <= set(SCOPE.split()):
                outcome = Outcome.INVALID_SCOPE
            if family is None or outcome not in _ACCEPTED:
                if family and outcome is Outcome.REPLAYED:
                    family.revoked = True
                self._log.append(Presentation(now, client_id, token.hash(), outcome, ""))
                raise OAuthError(*_REFUSALS[outcome])
            if outcome is Outcome.ROTATED:
                self._rotate(family, now)
            reply = self._token_response(family, now, scope=scope or SCOPE, issuer=issuer)
            answered = reply.get("refresh_token")
            successor = Sensitive(answered).hash() if answered and isinstance(answered, str) else ""
            self._log.append(Presentation(now, client_id, token.hash(), outcome, successor))
            return reply

    def introspect(self, client_id: str, token: Sensitive) -> dict[str, object]:
        """Return the introspection response for one of the client's tokens (RFC 7662)."""
        with self._lock:
            now = self._now()
            family, outcome = self._find(client_id, token, now)
            if family and outcome in _ACCEPTED:
                known = {"active": True, "client_id": client_id, "sid": family.session}
                return known | ({"exp": int(family.expires_at)} if family.expires_at else {})
            claims = verify_jwt(token.reveal(), self._key) or {}
            family = self._by_session.get(str(claims.get("sid")))
            expires = claims.get("exp")
            alive = family and not family.revoked and family.client_id == client_id
            if alive and isinstance(expires, int) and now < expires:
                return {"active": True, "client_id": client_id, "token_type": "Bearer", **claims}
        return {"active": False}

    def log_presentation(self, client_id: str, token: Sensitive, outcome: Outcome) -> None:
        """Log a presentation that did not reach `refresh`."""
        known = client_id if client_id in self._clients else ""
        with self._lock:
            self._log.append(Presentation(self._now(), known, token.hash(), outcome, ""))

    def presentations(self) -> tuple[Presentation, ...]:
        with self._lock:
            return tuple(self._log)

    def _find(self, client_id: str, token: Sensitive, now: float) -> tuple[_Family | None, Outcome]:
        family = self._by_token.get(token)
        if family is None:
            return None, Outcome.UNKNOWN
        if family.client_id != client_id:
            return family, Outcome.FOREIGN
        if family.revoked:
            return family, Outcome.REVOKED
        current = token == family.current
        in_grace = token == family.previous and now - family.replaced_at < self.policy.grace
        if not current and not in_grace:
            return family, Outcome.REPLAYED
        if family.expires_at and now >= family.expires_at:
            return family, Outcome.EXPIRED
        return family, Outcome.ROTATED if current and self.policy.rotate else Outcome.REUSED

    def _rotate(self, family: _Family, now: float) -> None:
        family.previous, family.current = family.current, _new_refresh_token()
        family.replaced_at, family.expires_at = now, self._expiry(now)
        self._by_token[family.current] = family

    def _expiry(self, now: float) -> float:
        return now + self.policy.refresh_lifetime if self.policy.refresh_lifetime else 0

    def _token_response(
        self, family: _Family, now: float, *, scope: str, issuer: str
    ) -> dict[str, object]:
        policy = self.policy
        claims = {
            "iss": issuer,
            "sub": "demo-user",
            "aud": family.client_id,
            "azp": family.client_id,
            "iat": int(now),
            "exp": int(now + policy.lifetime),
            "jti": secrets.token_hex(16),
            "sid": family.session,
            "scope": scope,
        }
        fields: dict[str, object] = {
            "access_token": sign_jwt(claims, self._key),
            "token_type": "Bearer",
            "expires_in": int(policy.lifetime),
            "refresh_token": family.current.reveal(),
            "refresh_expires_in": int(family.expires_at - now) if family.expires_at else 0,
            "scope": scope,
            "session_state": family.session,
            "not-before-policy": 0,
        }
        return {k: v for k, v in {**fields, **policy.extra}.items() if k not in policy.omit}


def _new_refresh_token() -> Sensitive:
    return Sensitive(secrets.token_urlsafe(32))
