"""The keys of an issuer that say what its token requests have beside the grant itself."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from csidriver.core.oauth.issuer_values import parse

# Pairs of name and value, in the order in which they are sent; a name may repeat.
Params = tuple[tuple[str, str], ...]

JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
# Words of `assertionAudience`; any other text is the audience itself.
ISSUER_AUDIENCE = "issuer"
ENDPOINT_AUDIENCE = "tokenEndpoint"
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

    client_id: str = ""
    namespaces: tuple[str, ...] = ()


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
    # Printable excludes lone surrogates, which cannot be sent.
    return isinstance(raw, str) and raw.isprintable() and bool(raw.strip())


def _is_param(name: Any, reserved: re.Pattern[str] | None) -> bool:
    known = isinstance(name, str) and _PARAM.fullmatch(name)
    return bool(known) and not (reserved and reserved.fullmatch(name.lower().replace(".", "_")))


def is_allowable(name: str) -> bool:
    """Return True if an issuer may let sources set the form field."""
    return _is_param(name, _RESERVED_FOR_SOURCES)


def to_pairs(raw: Any, reserved: re.Pattern[str] | None = None) -> Params:
    """Return the fields of a mapping of names to texts, or to lists of texts. Raises ValueError."""
    if not isinstance(raw, Mapping):
        raise ValueError("must be a mapping")  # noqa: TRY004 - as every other fault
    lists = {name: value if isinstance(value, list) else [value] for name, value in raw.items()}
    faults = [f"must not have {name!r}" for name in lists if not _is_param(name, reserved)]
    faults += [
        f"must have a text, or a list of texts, for {name}"
        for name, texts in lists.items()
        if not texts or not all(map(_is_text, texts))
    ]
    if faults:
        raise ValueError(*faults)
    return tuple((name, text) for name, texts in lists.items() for text in texts)


def _allowed_params(raw: Any) -> tuple[str, ...]:
    if not isinstance(raw, list):
        raise ValueError("must be a list of names")  # noqa: TRY004 - as every other fault
    refused = [name for name in raw if not is_allowable(name)]
    if refused:
        raise ValueError(*(f"must not have {name!r}" for name in refused))
    return tuple(raw)


def _clients(raw: Any) -> tuple[OperatorClient, ...]:
    entries = raw if isinstance(raw, list) else [{}]
    clients = tuple(parse(OperatorClient, entry) for entry in entries)
    if not all(each.client_id and each.namespaces for each in clients):
        raise ValueError("must be a list of {clientID, namespaces: [..]}")
    return clients


# The parser of each field of an issuer whose values have a form of their own.
PARSERS: Mapping[str, Callable[[Any], Any]] = {
    "params": partial(to_pairs, reserved=_RESERVED),
    "allowed_params": _allowed_params,
    "private_key": partial(parse, PrivateKeySettings),
    "assertion": partial(parse, AssertionSettings),
    "clients": _clients,
    "token_exchange": partial(parse, TokenExchangeSettings),
}
