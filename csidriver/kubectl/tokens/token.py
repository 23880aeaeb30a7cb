"""A token as its source's annotations describe it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from csidriver.core import annotations
from csidriver.core.kubernetes.timestamp import MAX_INSTANT, parse_rfc3339
from csidriver.core.kubernetes.validation import is_dns1123_subdomain
from csidriver.core.names import SourceRef
from csidriver.core.oauth.grant_type import GrantType
from csidriver.core.quoting import quote_untrusted
from csidriver.core.status import Status, TokenWarning
from csidriver.kubectl.absences import absent_secret, require_namespace
from csidriver.kubectl.client import Kubectl
from csidriver.kubectl.errors import NotFound
from csidriver.kubectl.tokens import records

KEYS = (
    *(annotations.IS_TOKEN, annotations.ISSUER, annotations.BOUND_ISSUER, annotations.STATUS),
    *(annotations.MESSAGE, annotations.WARNING, annotations.EXPIRES_AT, annotations.REFRESHED_AT),
    *(annotations.NEXT_REFRESH, annotations.LOGIN_EXPIRES_AT, annotations.REFRESH_REQUESTED_AT),
    *(annotations.GRANT_TYPE, annotations.LOGIN),
)
_METADATA = ("namespace", "name", "uid", "creationTimestamp")
_WIDTH = len(_METADATA) + len(KEYS)


@dataclass(frozen=True, slots=True)
class Token:
    """The metadata of a Secret that may be a source. Instants are epoch seconds, None if absent."""

    ref: SourceRef
    uid: str
    created: str
    values: Mapping[str, str]

    @property
    def is_annotated(self) -> bool:
        return self.values[annotations.IS_TOKEN] == "true"

    @property
    def created_at(self) -> float | None:
        return parse_rfc3339(self.created)

    @property
    def issuer(self) -> str:
        """The issuer that the token is bound to, else the one that the user wants."""
        return self.values[annotations.BOUND_ISSUER] or self.values[annotations.ISSUER]

    @property
    def grant_type(self) -> str:
        """The word of the user for how the token is renewed; it may be one that does not exist."""
        return self.values[annotations.GRANT_TYPE] or GrantType.REFRESH_TOKEN.value

    @property
    def login(self) -> SourceRef | None:
        """The Secret from whose access token this one is made, None for other tokens."""
        name = self.values[annotations.LOGIN]
        is_derived = name and self.grant_type == GrantType.TOKEN_EXCHANGE.value
        return SourceRef(self.ref.namespace, name) if is_derived else None

    @property
    def needs_login(self) -> bool:
        """Return True if somebody must log in for this token, at first and when that ends."""
        return self.grant_type == GrantType.REFRESH_TOKEN.value

    @property
    def state(self) -> str:
        """The status, Pending until the refresher has met the Secret."""
        return self.values[annotations.STATUS] or Status.PENDING.value

    @property
    def message(self) -> str:
        return self.values[annotations.MESSAGE]

    @property
    def warnings(self) -> list[TokenWarning]:
        words = self.values[annotations.WARNING].split(", ")
        return [warning for warning in TokenWarning if warning.value in words]

    def instant(self, key: str) -> float | None:
        """Return the instant in an annotation; None also for one that no calendar has in UTC."""
        instant = parse_rfc3339(self.values[key])
        return instant if instant is not None and 0 <= instant <= MAX_INSTANT else None


def read_tokens(kubectl: Kubectl, *where: str) -> list[Token]:
    """Return the tokens of a namespace, or of all (`--all-namespaces`), sorted."""
    output = kubectl.get_text("secrets", *where, records.option(records.of_each(_template())))
    found = [_token(fields) for fields in records.parse_records(output.splitlines(), _WIDTH)]
    return sorted((t for t in found if t.is_annotated), key=lambda token: token.ref)


def read_token(kubectl: Kubectl, ref: SourceRef) -> Token:
    """Return one token; raise NotFound if there is no Secret, or one that is not annotated."""
    if not is_dns1123_subdomain(ref.name):
        raise NotFound(f"{quote_untrusted(ref.name)} cannot be the name of a Secret")
    where = [ref.name, f"--namespace={ref.namespace}"]
    try:
        output = kubectl.get_text("secrets", *where, records.option(records.of_each(_template())))
    except NotFound:
        require_namespace(kubectl, ref.namespace)
        raise absent_secret(ref) from None
    (fields,) = records.parse_records(output.splitlines() or [""], _WIDTH)
    token = _token(fields)
    if not token.is_annotated:
        mark = f'{annotations.IS_TOKEN}: "true"'
        raise NotFound(f"Secret {ref} is not a token: it has no annotation {mark}; add it")
    return token


def watch_tokens(kubectl: Kubectl, *where: str, name: str = "") -> Iterator[tuple[str, Token]]:
    """Yield the type of each event with its token, annotated or not; without a name, of all."""
    template = records.option(records.of_event(_template("$type")))
    # Given the name alone, kubectl would miss a change between its first look and its watch.
    names = [f"--field-selector=metadata.name={name}"] if name else []
    with closing(kubectl.watch_text("secrets", *names, *where, template)) as lines:
        for kind, *fields in records.parse_records(lines, _WIDTH + 1):
            yield kind, _token(fields)


def _template(*first: str) -> str:
    metadata = [f".metadata.{field}" for field in _METADATA]
    values = [f'(index $annotations "{key}")' for key in KEYS]
    fields = [records.quoted(expression) for expression in (*first, *metadata, *values)]
    # Without annotations the metadata takes their place: it has none of these keys.
    return "{{$annotations := or .metadata.annotations .metadata}}" + records.record(fields)


def _token(fields: Sequence[Any]) -> Token:
    namespace, name, uid, created, *texts = (str(field) for field in fields)
    limited = {key: text[: annotations.LIMITS[key]] for key, text in zip(KEYS, texts, strict=True)}
    return Token(SourceRef(namespace, name), uid, created, limited)
