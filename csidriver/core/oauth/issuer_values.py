"""Values of an issuer's keys that are texts, numbers, booleans or lists of texts."""

from typing import Any

from csidriver.core.oauth.endpoint_url import is_host

_TEXTS = {"name", "issuer", "token_endpoint", "client_auth", "ca_file", "scope", "proxy"}
_TEXTS |= {"introspection_endpoint"}


def convert(name: str, raw: Any) -> Any:
    """Return the value of a field of an issuer; raises ValueError, whose text names no key."""
    if name in _TEXTS:
        if raw is None or isinstance(raw, str):
            return raw or ""
        raise ValueError("must be a string")
    if name in {"default", "internal"}:
        if isinstance(raw, bool):
            return raw
        raise ValueError("must be true or false")
    if name in {"namespaces", "endpoint_hosts", "access_token_issuers"}:
        if isinstance(raw, list) and all(isinstance(item, str) for item in raw):
            if name == "endpoint_hosts" and not all(map(is_host, raw)):
                raise ValueError("must be a list of hosts, or of host:port")
            return tuple(raw)
        raise ValueError("must be a list of strings")
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not 0 <= raw < float("inf"):
        raise ValueError("must be a number that is not negative")
    return int(raw) if name == "in_flight" else float(raw)
