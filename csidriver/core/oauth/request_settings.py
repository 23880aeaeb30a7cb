"""The keys of an issuer that say what its token requests have beside the grant itself."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, TypeVar

from csidriver.core.oauth.login_settings import unknown_key

T = TypeVar("T", "PrivateKeySettings", "AssertionSettings", "TokenExchangeSettings")
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

    file: str = ""
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
_OF_GRANTS = "grant_type|client_.*|refresh_token|subject_token.*|assertion.*"
_RESERVED = re.compile(f"{_OF_GRANTS}|scope")
_RESERVED_FOR_SOURCES = re.compile(
    f"{_OF_GRANTS}|actor_token.*|code.*|username|password|requested_token_type"
)


def _is_text(raw: Any) -> bool:
    return isinstance(raw, str) and raw.isprintable() and bool(raw.strip())


def _is_param(name: Any, reserved: re.Pattern[str]) -> bool:
    known = isinstance(name, str) and _PARAM.fullmatch(name)
    return bool(known) and not reserved.fullmatch(name.lower().replace(".", "_"))


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
    names = raw if isinstance(raw, list) else []
    faults += [] if names is raw else ["must be a list of names"]
    refused = [name for name in names if not _is_param(name, _RESERVED_FOR_SOURCES)]
    faults += [f"must not have {name!r}" for name in refused]
    return tuple(name for name in names if name not in refused)


def _settings(kind: type[T], raw: Any, faults: list[str]) -> T:
    """Parse a mapping whose keys are the fields of `kind`, in camel case."""
    if not isinstance(raw, Mapping):
        faults.append("must be a mapping")
        return kind()
    defaults = {field.name: field.default for field in fields(kind)}
    names = {re.sub("_(.)", lambda found: found[1].upper(), name): name for name in defaults}
    faults += [f"has an {unknown_key(key, names)}" for key in raw if key not in names]
    given = {key: raw[key] for key in names if raw.get(key) not in (None, "")}
    for key, value in given.items():
        is_flag = isinstance(defaults[names[key]], bool)
        if not (isinstance(value, bool) if is_flag else _is_text(value)):
            faults.append(f"{key} must be {'true or false' if is_flag else 'a text'}")
    return kind(**{names[key]: value for key, value in given.items()})


def _private_key(raw: Any, faults: list[str]) -> PrivateKeySettings:
    settings = _settings(PrivateKeySettings, raw, faults)
    if settings.alg and settings.alg not in ALGORITHMS:
        faults.append(f"alg must be one of {', '.join(ALGORITHMS)}")
    return settings


def _assertion_audience(raw: Any, faults: list[str]) -> str:
    faults += [] if _is_text(raw) else [f"must be {ISSUER_AUDIENCE}, {ENDPOINT_AUDIENCE} or a text"]
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


# The parser of each field of an issuer; it returns the value and adds what is wrong with it.
PARSERS: Mapping[str, Callable[[Any, list[str]], Any]] = {
    "params": _params,
    "allowed_params": _allowed_params,
    "private_key": _private_key,
    "assertion": partial(_settings, AssertionSettings),
    "assertion_audience": _assertion_audience,
    "clients": _clients,
    "token_exchange": partial(_settings, TokenExchangeSettings),
}
