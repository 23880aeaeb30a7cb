"""The keys of an issuer that say what its token requests have beside the grant itself."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from csidriver.core.oauth.login_settings import unknown_key

# Pairs of name and value, in the order in which they are sent; a name may repeat.
Params = tuple[tuple[str, str], ...]

JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
# Words of `assertionAudience`; any other text is the audience itself.
ISSUER_AUDIENCE = "issuer"
ENDPOINT_AUDIENCE = "tokenEndpoint"
# The algorithms of `private_key_jwt`; of others a server needs nothing, or should not accept them.
ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)
ACCESS_TOKEN_TYPE = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a name


@dataclass(frozen=True, slots=True)
class PrivateKeySettings:
    """Key of `private_key_jwt` (RFC 7523); without a file each Secret has its own."""

    file: str = ""
    kid: str = ""
    alg: str = ""


@dataclass(frozen=True, slots=True)
class AssertionSettings:
    """A file with the token that somebody else made for the driver (RFC 7521 section 4.2)."""

    file: str
    type: str = JWT_BEARER


@dataclass(frozen=True, slots=True)
class OperatorClient:
    """A client whose trust is the driver's own, and the namespaces that may use it."""

    client_id: str
    namespaces: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TokenExchangeSettings:
    """Limits of derived tokens (RFC 8693); `wider_scope` and `same_audience` lift one each."""

    wider_scope: bool = False
    same_audience: bool = False
    subject_token_type: str = ACCESS_TOKEN_TYPE


# RFC 6749 appendix A.18 asks for these characters of a new parameter's name.
_PARAM = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
# What decides for whom, and of what, a token is made. Some servers compare without regard to case,
# and some take `.` for `_`.
_GRANT_PARAMS = "grant_type|client_.*|refresh_token|subject_token.*|assertion.*"
_RESERVED = re.compile(f"{_GRANT_PARAMS}|scope")
_RESERVED_FOR_SOURCES = re.compile(
    f"{_GRANT_PARAMS}|actor_token.*|code.*|username|password|requested_token_type"
)


def _is_text(raw: Any) -> bool:
    return isinstance(raw, str) and raw.isprintable() and bool(raw.strip())


def _is_param(name: Any, reserved: re.Pattern[str]) -> bool:
    if not isinstance(name, str) or not _PARAM.fullmatch(name):
        return False
    return not reserved.fullmatch(name.lower().replace(".", "_"))


def _params(raw: Any, faults: list[str]) -> Params:
    if not isinstance(raw, Mapping):
        faults.append("must be a mapping")
        return ()
    pairs = []
    for name, value in raw.items():
        texts = value if isinstance(value, list) else [value]
        if not _is_param(name, _RESERVED):
            faults.append(f"must not have {name!r}")
        elif not texts or not all(map(_is_text, texts)):
            faults.append(f"must have a text, or a list of texts, for {name}")
        else:
            pairs += [(name, text) for text in texts]
    return tuple(pairs)


def _allowed_params(raw: Any, faults: list[str]) -> tuple[str, ...]:
    if not isinstance(raw, list):
        faults.append("must be a list of names")
        return ()
    refused = [name for name in raw if not _is_param(name, _RESERVED_FOR_SOURCES)]
    faults += [f"must not have {name!r}" for name in refused]
    return tuple(name for name in raw if name not in refused)


def _mapping(raw: Any, kinds: Mapping[str, type], faults: list[str]) -> dict[str, Any]:
    """Return the values of known keys that have the right type, and add the other faults."""
    if not isinstance(raw, Mapping):
        faults.append("must be a mapping")
        return {}
    faults += [f"has an {unknown_key(key, kinds)}" for key in raw if key not in kinds]
    values = {}
    for key, kind in kinds.items():
        value = raw.get(key)
        if value is None:
            continue
        if isinstance(value, bool) if kind is bool else _is_text(value):
            values[key] = value
        else:
            faults.append(f"{key} must be {'true or false' if kind is bool else 'a text'}")
    return values


def _private_key(raw: Any, faults: list[str]) -> PrivateKeySettings:
    values = _mapping(raw, dict.fromkeys(("file", "kid", "alg"), str), faults)
    if values.get("alg", ALGORITHMS[0]) not in ALGORITHMS:
        faults.append(f"alg must be one of {', '.join(ALGORITHMS)}")
    return PrivateKeySettings(**values)


def _assertion(raw: Any, faults: list[str]) -> AssertionSettings:
    values = _mapping(raw, {"file": str, "type": str}, faults)
    if not values.get("file") and not faults:
        faults.append("needs file")
    return AssertionSettings(**({"file": ""} | values))


def _assertion_audience(raw: Any, faults: list[str]) -> str:
    if not _is_text(raw):
        faults.append(f"must be {ISSUER_AUDIENCE}, {ENDPOINT_AUDIENCE} or another text")
        return ""
    return "" if raw == ISSUER_AUDIENCE else str(raw)


def _clients(raw: Any, faults: list[str]) -> tuple[OperatorClient, ...]:
    if not isinstance(raw, list):
        faults.append("must be a list of {clientID, namespaces}")
        return ()
    found: dict[str, OperatorClient] = {}
    for number, entry in enumerate(raw):
        is_known = isinstance(entry, Mapping) and set(entry) == {"clientID", "namespaces"}
        client_id, namespaces = (entry["clientID"], entry["namespaces"]) if is_known else ("", [])
        listed = isinstance(namespaces, list) and bool(namespaces)
        if not _is_text(client_id) or not listed or not all(map(_is_text, namespaces)):
            faults.append(f"[{number}] must have a clientID and a list of namespaces, no more")
        elif client_id in found:
            faults.append(f"has {client_id!r} twice")
        else:
            found[client_id] = OperatorClient(client_id, tuple(namespaces))
    return tuple(found.values())


def _token_exchange(raw: Any, faults: list[str]) -> TokenExchangeSettings:
    keys = {"widerScope": bool, "sameAudience": bool, "subjectTokenType": str}
    fields = dict(zip(keys, TokenExchangeSettings.__slots__, strict=True))
    values = _mapping(raw, keys, faults)
    return TokenExchangeSettings(**{fields[key]: value for key, value in values.items()})


# The parser of each field of an issuer; it returns the value and adds what is wrong with it.
PARSERS: Mapping[str, Callable[[Any, list[str]], Any]] = {
    "params": _params,
    "allowed_params": _allowed_params,
    "private_key": _private_key,
    "assertion": _assertion,
    "assertion_audience": _assertion_audience,
    "clients": _clients,
    "token_exchange": _token_exchange,
}
