"""Policies of authorization servers that the demo's does not have, and introspection."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from csidriver.core.sensitive import Sensitive
from csidriver.demo.families import REFUSALS, Family, RegisteredClient, TokenFamilies
from csidriver.demo.jwt import verify_jwt
from csidriver.demo.presentation_log import Outcome, Presentation


class PolicyOutcome(StrEnum):
    """Further results of presentations."""

    REUSED = "reused"  # within the grace period
    INVALID_CLIENT = "invalid_client"
    INVALID_REQUEST = "invalid_request"
    DROPPED_BEFORE = "dropped_before"  # the server ended before handling
    ANSWERED_BEFORE = "answered_before"  # a fault replied instead of handling
    THROTTLED = "throttled"


@dataclass(frozen=True, slots=True)
class Policy:
    """The server's behaviour. Times in seconds."""

    lifetime: float = 20.0  # of an access token; negative for one that has expired
    grace: float = 0.0  # after a rotation the replaced token still gets the same successor
    extra: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    introspection: bool = True  # advertised in the metadata, and served
    throttled: str = ""  # clients whose ids begin so are told to come back in an hour; "" for none


class PolicyFamilies(TokenFamilies):
    def __init__(
        self,
        clients: Iterable[RegisteredClient],
        *,
        key: bytes,
        policy: Policy,
        now: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(clients, key=key, lifetime=policy.lifetime, now=now)
        self.policy = policy
        # The predecessor of a refresh token, and when it was replaced.
        self._predecessors: dict[Sensitive, tuple[Sensitive, float]] = {}

    def revoke(self, refresh_token: Sensitive) -> None:
        with self._lock:
            family = self._family(refresh_token)
            assert family is not None
            family.revoked = True

    def introspect(self, client_id: str, token: Sensitive) -> dict[str, object]:
        with self._lock:
            now = self._now()
            family, outcome = self._find(client_id, token)
            if family and outcome not in REFUSALS:
                return {"active": True, "client_id": client_id, "sid": family.session}
            claims = verify_jwt(token.reveal(), self._key) or {}
            family = self._by_session.get(str(claims.get("sid")))
            expiry = claims.get("exp")
            alive = family and not family.revoked and family.client_id == client_id
            if alive and isinstance(expiry, int) and now < expiry:
                return {"active": True, "client_id": client_id, "token_type": "Bearer", **claims}
        return {"active": False}

    def log_presentation(self, client_id: str, token: Sensitive, outcome: str) -> None:
        known = client_id if client_id in self._clients else ""
        with self._lock:
            self._log.append(Presentation(self._now(), known, token.hash(), outcome, ""))

    def _find(self, client_id: str, token: Sensitive) -> tuple[Family | None, str]:
        family, outcome = super()._find(client_id, token)
        if family is not None and outcome == Outcome.REPLAYED:
            predecessor, replaced_at = self._predecessors.get(family.current, (None, 0.0))
            if token == predecessor and self._now() - replaced_at < self.policy.grace:
                return family, PolicyOutcome.REUSED
        return family, outcome

    def _rotate(self, family: Family) -> None:
        replaced = family.current
        super()._rotate(family)
        self._predecessors[family.current] = replaced, self._now()

    def issue(self, client_id: str, scope: str, **claims: object) -> dict[str, object]:
        fields = super().issue(client_id, scope, **claims)
        return {**fields, **self.policy.extra}

    def _token_response(
        self, family: Family, now: float, *, scope: str, issuer: str
    ) -> dict[str, object]:
        fields = super()._token_response(family, now, scope=scope, issuer=issuer)
        return {**fields, **self.policy.extra}

    def _access_token_response(self, now: float, **claims: object) -> dict[str, object]:
        self._lifetime = self.policy.lifetime
        return super()._access_token_response(now, **claims)
