"""Signatures of assertions, for which this module alone needs PyJWT."""

from collections.abc import Iterable, Mapping
from typing import Any

import jwt

from csidriver.demo.families import RegisteredClient

ALGORITHMS = ["RS256", "PS256", "ES256"]
# Times and audiences are compared by the caller, who has its own clock.
_UNCHECKED: Any = {f"verify_{name}": False for name in ("exp", "nbf", "iat", "aud")}


def unverified_claims(assertion: str) -> Mapping[str, Any]:
    """Return what an assertion says, whoever signed it; empty if it is no JWT."""
    try:
        claims: Mapping[str, Any] = jwt.decode(assertion, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        return {}
    return claims


def is_signed(assertion: str, client: RegisteredClient) -> bool:
    """Return True if a key of the client, or of whom it trusts, has signed an assertion."""
    return any(_is_signed_with(assertion, key) for key in _keys(assertion, client))


def _keys(assertion: str, client: RegisteredClient) -> Iterable[Any]:
    if client.trust is None:
        return client.public_keys
    name = jwt.get_unverified_header(assertion).get("kid")
    keys = jwt.PyJWKSet.from_dict(dict(client.trust.jwks)).keys
    return [key.key for key in keys if key.key_id == name]


def _is_signed_with(assertion: str, key: Any) -> bool:
    try:
        jwt.decode(assertion, key, algorithms=ALGORITHMS, options=_UNCHECKED)
    except (jwt.InvalidTokenError, jwt.InvalidKeyError, TypeError):  # or a key of another type
        return False
    return True
