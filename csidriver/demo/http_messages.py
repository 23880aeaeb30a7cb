"""HTTP requests and replies as values; parsers of parameters and of credentials."""

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from urllib.parse import parse_qsl, unquote_plus

from csidriver.core.sensitive import Sensitive
from csidriver.demo.families import OAuthError

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"
_MAX_FIELDS = 32  # a refresh request has five; bounds the cost of parsing
# Parameters that may be repeated (RFC 8693 section 2.1, RFC 8707 section 2).
_REPEATABLE = frozenset({"audience", "resource"})


class Form(dict[str, str]):
    """Parameters that have a value; of one that is repeated, the last value."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        # RFC 6749 section 3.2: a parameter without a value counts as omitted.
        self.pairs = tuple((name, value) for name, value in pairs if value)
        super().__init__(self.pairs)

    def every(self, name: str) -> tuple[str, ...]:
        """Return all values of a parameter."""
        return tuple(value for given, value in self.pairs if given == name)


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One HTTP request with its whole body."""

    method: str
    path: str
    query: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)  # names in lower case
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class HttpReply:
    """One HTTP reply."""

    status: int
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    body: bytes = field(default=b"", repr=False)


def json_reply(
    content: Mapping[str, object], status: int = 200, headers: Mapping[str, str] | None = None
) -> HttpReply:
    """Return a JSON reply that caches must not store (RFC 6749, section 5.1)."""
    fixed = {"Content-Type": JSON, "Cache-Control": "no-store", "Pragma": "no-cache"}
    return HttpReply(status, {**fixed, **(headers or {})}, json.dumps(content).encode())


def read_form(request: HttpRequest) -> Form:
    """Return the parameters of a token or introspection request, or raise OAuthError."""
    if request.query:
        raise OAuthError("invalid_request", "parameters belong into the body")
    media_type = request.headers.get("content-type", "").partition(";")[0]
    if media_type.strip().lower() != FORM:
        raise OAuthError("invalid_request", f"the body must be {FORM}")
    return read_fields(request.body.decode("latin-1"))


def read_fields(text: str) -> Form:
    """Return the parameters of a body or of a query, or raise OAuthError."""
    try:
        text.encode("ascii")
        pairs = parse_qsl(
            text,
            keep_blank_values=True,
            strict_parsing=bool(text),
            errors="strict",
            max_num_fields=_MAX_FIELDS,
        )
    except ValueError:
        raise OAuthError("invalid_request", "the parameters do not parse") from None
    names = [name for name, _ in pairs if name not in _REPEATABLE]
    if len(set(names)) < len(names):
        raise OAuthError("invalid_request", "a parameter is repeated")
    return Form(pairs)


def parameter(form: Mapping[str, str], name: str) -> str:
    """Return a parameter of a form, or raise OAuthError."""
    if name not in form:
        raise OAuthError("invalid_request", f"{name} is missing")
    return form[name]


def read_credentials(
    authorization: str | None, form: Mapping[str, str]
) -> tuple[str, Sensitive | None]:
    """Return a client's id and secret (RFC 6749, section 2.3), or raise OAuthError."""
    client_id, secret = form.get("client_id"), form.get("client_secret")
    if authorization is None:
        if client_id is None:
            raise OAuthError("invalid_client", "no client authentication")
        return client_id, Sensitive(secret) if secret else None
    basic_id, basic_secret = _read_basic(authorization)
    if secret or client_id not in {None, basic_id}:
        raise OAuthError("invalid_request", "more than one client authentication method")
    return basic_id, basic_secret


def _read_basic(authorization: str) -> tuple[str, Sensitive]:
    scheme, _, encoded = authorization.partition(" ")
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode()
        # RFC 6749 section 2.3.1: both halves are form-encoded before they become Basic.
        client_id, secret = (unquote_plus(part, errors="strict") for part in text.split(":", 1))
    except ValueError:
        scheme, client_id, secret = "", "", ""
    if scheme.lower() != "basic" or not client_id:
        raise OAuthError("invalid_client", "the Authorization header is not Basic credentials")
    return client_id, Sensitive(secret)
