"""The source: parser of a user's annotated Secret."""

from dataclasses import dataclass

from csidriver.core import annotations
from csidriver.core.annotations import MAX_DOCUMENT
from csidriver.core.companion import is_token_type
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.kubernetes.timestamp import MAX_INSTANT, parse_rfc3339
from csidriver.core.login_command import ask_for_login
from csidriver.core.names import SourceRef
from csidriver.core.oauth.grant_type import GrantType
from csidriver.core.oauth.request_settings import Params
from csidriver.core.oauth.token_document import BYTE_ORDER_MARK, DocumentError, TokenDocument
from csidriver.core.quoting import nearest
from csidriver.core.refresh.sending.params import parse_login, parse_params
from csidriver.core.sensitive import Sensitive
from csidriver.errors import InvalidSecret

MAX_CREDENTIAL = 4 * 1024
MAX_REFRESH_TOKEN = 16 * 1024
# Each costs memory beside its text; real documents have up to 20.
MAX_FIELDS = 64

_KEYS = (
    annotations.KEY_OAUTH,
    annotations.KEY_OAUTH_ALIAS,
    annotations.KEY_CLIENT_ID,
    annotations.KEY_CLIENT_SECRET,
    annotations.KEY_CLIENT_KEY,
)
# Comparing is slow, and a Secret may have thousands of keys.
_MOST_COMPARED = 16
_NO_KEY = Sensitive("")


@dataclass(frozen=True, slots=True)
class Client:
    """Client credentials; a public client has neither secret nor key (RFC 6749 section 2.1)."""

    client_id: str
    client_secret: Sensitive
    private_key: Sensitive = _NO_KEY


@dataclass(frozen=True, slots=True)
class Source:
    """A parsed source. `key` is the data key of the document, `trailing` means surplus bytes.

    `refresh_requested_at` is the instant of the user's request, 0 without a valid one.
    """

    ref: SourceRef
    uid: str
    document: TokenDocument
    key: str
    client: Client
    issuer: str
    trailing: bool
    refresh_requested_at: float = 0.0
    grant_type: GrantType = GrantType.REFRESH_TOKEN
    params: Params = ()
    login: str = ""

    @property
    def token_hash(self) -> str:
        """The hash of the refresh token, "" without one, which only that grant needs."""
        token = self.document.refresh_token
        return token.hash() if token else ""

    @classmethod
    def parse(cls, secret: Secret) -> "Source":
        """Parse a Secret. Raises InvalidSecret with all problems, without quoting a value."""
        problems: list[str] = []
        key, ref = document_key(secret), SourceRef(secret.namespace, secret.name)
        kind = _grant_type(secret, problems)
        # Nobody knows what a grant type that does not exist needs.
        is_absent = key not in secret.data and (kind.is_repeatable or bool(problems))
        login = parse_login(secret.annotations, kind, problems)
        params = parse_params(secret.annotations, kind, problems)
        document, trailing = (
            (TokenDocument({}), False) if is_absent else _document(secret, key, problems)
        )
        client_id = _credential(secret, annotations.KEY_CLIENT_ID, problems)
        client_secret = _credential(secret, annotations.KEY_CLIENT_SECRET, problems)
        private_key = _credential(secret, annotations.KEY_CLIENT_KEY, problems)
        has_login_client = kind is GrantType.TOKEN_EXCHANGE and not (client_secret or private_key)
        if not client_id and not has_login_client:
            hint = _similar_key(secret, annotations.KEY_CLIENT_ID)
            problems.append(f"key {annotations.KEY_CLIENT_ID} is missing or empty{hint}")
        if document.refresh_token is None and not kind.is_repeatable and not problems:
            text = f"key {key}: refresh_token is missing or not UTF-8 text; log in again"
            problems.append(ask_for_login(text, ref))
        if problems:
            raise InvalidSecret(f"Secret {secret.namespace}/{secret.name}", problems)
        return cls(
            ref=ref,
            uid=secret.uid,
            document=document,
            key=key,
            client=Client(client_id.reveal(), client_secret, private_key),
            issuer=secret.annotations.get(annotations.ISSUER, ""),
            trailing=trailing,
            refresh_requested_at=_requested_at(secret) or 0.0,
            grant_type=kind,
            params=params,
            login=login,
        )


def is_source(secret: Secret) -> bool:
    return secret.annotations.get(annotations.IS_TOKEN) == "true"


def is_mirrorable(document: TokenDocument) -> bool:
    """Return True if the document could be read back from a source."""
    return not _excesses(document) and document.to_json().size <= MAX_DOCUMENT


def has_invalid_request(secret: Secret) -> bool:
    """Return True if the annotation that asks for a refresh is ignored."""
    return _requested_at(secret) is None


def document_key(secret: Secret) -> str:
    """Return `oauth`, or `oauth2` if only that key exists."""
    aliased = (
        annotations.KEY_OAUTH not in secret.data and annotations.KEY_OAUTH_ALIAS in secret.data
    )
    return annotations.KEY_OAUTH_ALIAS if aliased else annotations.KEY_OAUTH


def _grant_type(secret: Secret, problems: list[str]) -> GrantType:
    text = secret.annotations.get(annotations.GRANT_TYPE) or GrantType.REFRESH_TOKEN.value
    try:
        return GrantType(text)
    except ValueError:
        words = ", ".join(kind.value for kind in GrantType)
        problems.append(f"annotation {annotations.GRANT_TYPE} must be one of {words}")
        return GrantType.REFRESH_TOKEN


def _requested_at(secret: Secret) -> float | None:
    text = secret.annotations.get(annotations.REFRESH_REQUESTED_AT)
    at = parse_rfc3339(text) if text else 0.0
    return at if at is not None and 0 <= at <= MAX_INSTANT else None


def _similar_key(secret: Secret, key: str) -> str:
    """Return a hint at an unknown key of similar spelling, which no token has."""
    unknown = sorted(set(secret.data).difference(_KEYS))[:_MOST_COMPARED]
    words = {name.lower(): name for name in unknown}
    near = nearest(key.lower(), words)
    return f"; is it what {words[near]!r} means?" if near else ""


def _credential(secret: Secret, key: str, problems: list[str]) -> Sensitive:
    # `echo` appends white space.
    raw = secret.data.get(key, Sensitive("")).reveal()
    credential = Sensitive(raw.removeprefix(BYTE_ORDER_MARK).strip())
    if credential.size > MAX_CREDENTIAL:
        problems.append(f"key {key} is larger than {MAX_CREDENTIAL // 1024} KiB")
    return credential


def _excesses(document: TokenDocument) -> list[str]:
    """Return the problems that a source may not have, while replies and grants may."""
    token, problems = document.refresh_token, []
    if len(document.fields) > MAX_FIELDS:
        problems.append(f"has more than {MAX_FIELDS} fields")
    if token is not None and token.size > MAX_REFRESH_TOKEN:
        problems.append(f"has a refresh_token of more than {MAX_REFRESH_TOKEN // 1024} KiB")
    if not is_token_type(document.token_type):
        problems.append("has a token_type that is no word of up to 64 letters, digits, -, . or _")
    return problems


def _document(secret: Secret, key: str, problems: list[str]) -> tuple[TokenDocument, bool]:
    text = secret.data.get(key)
    if text is None:
        hint = _similar_key(secret, key)
        problems.append(f"key {key} is missing, or not UTF-8 text{hint}")
        return TokenDocument({}), False
    try:
        document, trailing = TokenDocument.parse(text)
    except DocumentError as error:
        problems.append(f"key {key} {error}")
        return TokenDocument({}), False
    problems.extend(f"key {key} {excess}" for excess in _excesses(document))
    problems.extend(
        f"key {key}: {name} must be a text"
        for name in ("access_token", "refresh_token")
        if not isinstance(document.value(name), str | None)
    )
    return document, trailing
