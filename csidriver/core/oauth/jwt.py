"""The claims of a JSON Web Token (RFC 7519), read without verifying the signature."""

import base64
from dataclasses import dataclass
from typing import Any

from csidriver.core.oauth.json_object import json_object
from csidriver.core.sensitive import Sensitive


@dataclass(frozen=True, slots=True)
class JwtClaims:
    """Claims of a JWT access token. They are unverified: use them as hints only.

    `is_bound`: its bearer must prove that a key is his (claim `cnf`, RFC 7800). `scope` has the
    words of the claim `scope` (RFC 9068) or `scp` (Entra ID, Okta).
    """

    iss: str = ""
    iat: float | None = None
    exp: float | None = None
    is_bound: bool = False
    audiences: frozenset[str] = frozenset()
    scope: frozenset[str] = frozenset()


def unverified_claims(token: Sensitive | None) -> JwtClaims:
    """Return the claims of a JWT without checking its signature; none of an opaque token."""
    parts = token.reveal().split(".") if token else []
    if len(parts) != 3:  # noqa: PLR2004 - header, claims, signature (RFC 7515 section 3.1)
        return JwtClaims()
    try:
        text = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)).decode()
    except ValueError:
        return JwtClaims()
    payload = json_object(Sensitive(text)) or {}
    iss = payload.get("iss")
    return JwtClaims(
        iss=iss if isinstance(iss, str) else "",
        iat=_numeric_date(payload.get("iat")),
        exp=_numeric_date(payload.get("exp")),
        is_bound=bool(payload.get("cnf")),
        audiences=_texts(payload.get("aud")),
        scope=_words(payload.get("scope")) or _words(payload.get("scp")),
    )


def _texts(value: Any) -> frozenset[str]:
    texts = value if isinstance(value, list) else [value]
    return frozenset(text for text in texts if isinstance(text, str))


def _words(value: Any) -> frozenset[str]:
    return frozenset(word for text in _texts(value) for word in text.split())


def _numeric_date(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 < value < 1e11 else None  # noqa: PLR2004 - the year 5138
