"""An issuer's `login`: the public client with which users log in from their own machines."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from csidriver.core.quoting import nearest

# Characters of RFC 6749 appendix A.1 and A.4.
_CLIENT_ID = re.compile(r"[ -~]{1,512}", re.ASCII)
_SCOPE = re.compile(r"[!#-\[\]-~]+", re.ASCII)
KEYS = ("clientID", "scopes", "deviceFlow", "params")
# What a login sends by itself, and what must not be published.
_RESERVED = re.compile(
    "client_.*|code.*|device_code|grant_type|nonce|password|redirect_uri|refresh_token"
    "|response_.*|scope|state|username"
)


@dataclass(frozen=True, slots=True)
class LoginSettings:
    """Parameters of a login; `device_flow` None follows the metadata."""

    client_id: str
    scopes: tuple[str, ...] = ()
    device_flow: bool | None = None
    params: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, raw: Any) -> "LoginSettings":
        """Return the settings. Raises ValueError with all faults."""
        if not isinstance(raw, Mapping):
            raise ValueError("must be a mapping")  # noqa: TRY004 - as every other fault
        client_id, scopes = raw.get("clientID"), raw.get("scopes") or []
        device_flow, params = raw.get("deviceFlow"), raw.get("params") or {}
        found = [unknown_key(key, KEYS) for key in raw if key not in KEYS]
        if not isinstance(client_id, str) or not _CLIENT_ID.fullmatch(client_id):
            found.append("clientID must be 1 to 512 printable characters")
        if not isinstance(scopes, list) or not all(_matches(_SCOPE, item) for item in scopes):
            found.append("scopes must be a list of scopes, one per item")
        if not isinstance(device_flow, bool | None):
            found.append("deviceFlow must be true or false")
        found += _faults(params)
        if found:
            raise ValueError(*found)
        return cls(str(client_id), tuple(scopes), device_flow, tuple(sorted(params.items())))

    def to_json(self) -> dict[str, Any]:
        """Return what `parse` reads."""
        values = (self.client_id, list(self.scopes), self.device_flow, dict(self.params))
        return dict(zip(KEYS, values, strict=True))


def unknown_key(key: object, known: Iterable[str]) -> str:
    """Return the problem of a key that is not known, with a known one of similar spelling."""
    near = nearest(str(key), known)
    return f"unknown key {key!r}" + (f"; did you mean {near!r}?" if near else "")


def _faults(params: Any) -> list[str]:
    if not isinstance(params, Mapping):
        return ["params must be a mapping"]
    texts = [text for item in params.items() for text in item]
    if "" in params or not all(isinstance(text, str) and text.isprintable() for text in texts):
        return ["params must have names and values that are printable strings"]
    return [f"params must not have {name}" for name in params if _RESERVED.fullmatch(name)]


def _matches(pattern: re.Pattern[str], text: Any) -> bool:
    return isinstance(text, str) and pattern.fullmatch(text) is not None
