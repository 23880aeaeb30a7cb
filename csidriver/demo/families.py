"""Refresh token families under strict rotation, without HTTP.

A family is all refresh tokens that descend from one sign-in. The presentation of a replaced token
revokes its family (RFC 9700, section 4.14.2). Tokens are signed, so that a server that was started
again with the same key knows them: the first one that is presented is its family's current one.
"""

import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from csidriver.core.sensitive import Sensitive
from csidriver.demo.jwt import sign_jwt, verify_jwt
from csidriver.demo.presentation_log import Outcome, Presentation
from csidriver.errors import DriverError

SCOPE = "offline_access profile email"
_REFRESH = "Refresh"  # as Keycloak marks them: no access token passes for one


@dataclass(frozen=True, slots=True)
class Trust:
    """Trust in the tokens that another issuer signs for one subject, as Kubernetes does.

    They authenticate a client. `audience` is theirs; empty for the identifier of this server.
    """

    issuer: str
    subject: str
    jwks: Mapping[str, object]
    audience: str = ""


@dataclass(frozen=True, slots=True)
class RegisteredClient:
    """A registered client; a public client has no secret, no key and no trust.

    `public_keys` are PEM, for private_key_jwt; `audience` is that of its assertions, empty for the
    identifier of this server. `scope` is what client_credentials can grant.
    """

    client_id: str
    client_secret: Sensitive | None
    public_keys: tuple[str, ...] = ()
    audience: str = ""
    trust: Trust | None = None
    scope: str = "profile email"

    @property
    def is_public(self) -> bool:
        return self.client_secret is None and not self.public_keys and self.trust is None


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
    scope: str
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
        self._by_seed: dict[Sensitive, Family] = {}
        self._by_session: dict[str, Family] = {}
        self._log: list[Presentation] = []

    def authenticate(self, client_id: str, secret: Sensitive | None) -> RegisteredClient:
        """Return the client with exactly this secret (None if public), or raise OAuthError."""
        client = self._clients.get(client_id)
        is_known = client is not None and (secret is not None or client.is_public)
        if client is None or not is_known or client.client_secret != secret:
            raise OAuthError("invalid_client", "client is unknown, or its authentication failed")
        return client

    def clients(self) -> Iterable[RegisteredClient]:
        return self._clients.values()

    def is_registered(self, client_id: str) -> bool:
        return client_id in self._clients

    def seed(self, client_id: str, refresh_token: Sensitive | None) -> Sensitive:
        """Start a family with this refresh token, or with a new one."""
        with self._lock:
            family = self._start(client_id, SCOPE)
            if refresh_token is not None:
                self._by_seed[refresh_token] = family
                family.current = refresh_token
            return family.current

    def log_in(self, client_id: str, *, scope: str, issuer: str) -> dict[str, object]:
        """Start a family; return the fields of the token response."""
        with self._lock:
            family = self._start(client_id, scope or SCOPE)
            return self._token_response(family, self._now(), scope=family.scope, issuer=issuer)

    def refresh(
        self, client_id: str, token: Sensitive, *, scope: str, issuer: str
    ) -> dict[str, object]:
        """Return the fields of a token response, or raise OAuthError.

        Decision, rotation and log entry are one atomic step. An empty `scope` is the granted one.
        """
        with self._lock:
            now = self._now()
            family, outcome = self._find(client_id, token)
            if family and outcome not in REFUSALS and not includes(family.scope, scope):
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
            return self._token_response(family, now, scope=scope or family.scope, issuer=issuer)

    def issue(self, client_id: str, scope: str, **claims: object) -> dict[str, object]:
        """Return the fields of a token response without a refresh token; `claims` are further."""
        return self._access_token_response(self._now(), azp=client_id, scope=scope, **claims)

    def read_access_token(self, token: Sensitive) -> Mapping[str, object] | None:
        """Return the claims of an access token of this server, if it is still good."""
        claims = verify_jwt(token.reveal(), self._key) or {}
        expiry = claims.get("exp")
        with self._lock:
            family = self._by_session.get(str(claims.get("sid")))
            is_live = isinstance(expiry, int) and self._now() < expiry
            return claims if is_live and not (family and family.revoked) else None

    def presentations(self) -> tuple[Presentation, ...]:
        with self._lock:
            return tuple(self._log)

    def _find(self, client_id: str, token: Sensitive) -> tuple[Family | None, str]:
        family = self._family(token)
        if family is None:
            return None, Outcome.UNKNOWN
        if family.client_id != client_id:
            return family, Outcome.FOREIGN
        if family.revoked:
            return family, Outcome.REVOKED
        return family, Outcome.ROTATED if token == family.current else Outcome.REPLAYED

    def _family(self, token: Sensitive) -> Family | None:
        if token in self._by_seed:
            return self._by_seed[token]
        claims = verify_jwt(token.reveal(), self._key) or {}
        if claims.get("typ") != _REFRESH:
            return None
        client_id, session, scope = (str(claims[name]) for name in ("azp", "sid", "scope"))
        family = Family(client_id, session, scope, token)
        return self._by_session.setdefault(session, family)

    def _start(self, client_id: str, scope: str) -> Family:
        family = Family(client_id, secrets.token_hex(16), scope, Sensitive(""))
        self._by_session[family.session] = family
        self._rotate(family)
        return family

    def _rotate(self, family: Family) -> None:
        claims = {
            "typ": _REFRESH,
            "azp": family.client_id,
            "sid": family.session,
            "scope": family.scope,
            "jti": secrets.token_hex(16),
        }
        family.current = Sensitive(sign_jwt(claims, self._key))

    def _token_response(
        self, family: Family, now: float, *, scope: str, issuer: str
    ) -> dict[str, object]:
        claims = {"iss": issuer, "sub": "demo-user", "aud": family.client_id, "sid": family.session}
        return {
            **self._access_token_response(now, azp=family.client_id, scope=scope, **claims),
            "refresh_token": family.current.reveal(),
            "refresh_expires_in": 0,
            "session_state": family.session,
            "not-before-policy": 0,
        }

    def _access_token_response(self, now: float, **claims: object) -> dict[str, object]:
        times = {"iat": int(now), "exp": int(now + self._lifetime), "jti": secrets.token_hex(16)}
        return {
            "access_token": sign_jwt({**claims, **times}, self._key),
            "token_type": "Bearer",
            "expires_in": max(0, int(self._lifetime)),
            "scope": claims["scope"],
        }


def includes(granted: str, scope: str) -> bool:
    """Return True if each part of a scope was granted."""
    return set(scope.split()) <= set(granted.split())
