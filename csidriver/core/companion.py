"""The companion: the Secret in the tokens namespace that nodes read.

It holds an access token and a status, never a refresh token.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from csidriver.core import annotations
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.kubernetes.timestamp import MAX_INSTANT, format_rfc3339, parse_rfc3339
from csidriver.core.login_command import ask_for_login
from csidriver.core.names import SourceRef
from csidriver.core.sensitive import Sensitive
from csidriver.core.status import Status
from csidriver.errors import InvalidSecret

# Larger ones fit into no HTTP header. A node has many in memory.
MAX_ACCESS_TOKEN = 32 * 1024
# A type-name of RFC 6749 appendix A.13.
_TOKEN_TYPE = re.compile("[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True)
class AccessToken:
    """An access token. Instants are epoch seconds, `written_at` with milliseconds."""

    value: Sensitive
    token_type: str
    issued_at: float
    expires_at: float
    written_at: float = 0.0

    @property
    def lifetime(self) -> float:
        return self.expires_at - self.issued_at


@dataclass(frozen=True, slots=True)
class Companion:
    """The content of a companion. The namespace is the source's; earlier releases kept no uid."""

    source: SourceRef
    source_uid: str
    generation: int
    status: Status
    message: str
    next_refresh: float
    token: AccessToken | None
    namespace_uid: str = ""

    @classmethod
    def from_secret(cls, secret: Secret) -> "Companion":
        """Raise InvalidSecret if the Secret is not a companion, or is damaged."""
        values = secret.annotations if secret.type == annotations.COMPANION_SECRET_TYPE else {}
        try:
            return cls(
                source=SourceRef(
                    values[annotations.SOURCE_NAMESPACE], values[annotations.SOURCE_NAME]
                ),
                source_uid=values[annotations.SOURCE_UID],
                generation=_count(values[annotations.GENERATION]),
                status=Status(values[annotations.STATUS]),
                message=values.get(annotations.MESSAGE, ""),
                next_refresh=parse_rfc3339(values.get(annotations.NEXT_REFRESH, "")) or 0.0,
                token=_token(secret.data),
                namespace_uid=values.get(annotations.NAMESPACE_UID, ""),
            )
        except (KeyError, ValueError) as error:
            problem = f"is not a companion ({type(error).__name__})"
            subject = f"Secret {secret.namespace}/{secret.name}"
            cure = "delete it, the refresher restores it"
            raise InvalidSecret(subject, [f"{problem}; {cure}"]) from None

    def annotations(self) -> dict[str, str]:
        return {
            annotations.SOURCE_NAMESPACE: self.source.namespace,
            annotations.SOURCE_NAME: self.source.name,
            annotations.SOURCE_UID: self.source_uid,
            annotations.NAMESPACE_UID: self.namespace_uid,
            annotations.GENERATION: str(self.generation),
            annotations.STATUS: self.status.value,
            annotations.MESSAGE: self.message,
            annotations.NEXT_REFRESH: format_rfc3339(self.next_refresh),
        }

    def data(self) -> dict[str, Sensitive]:
        if self.token is None:
            return {}
        return {
            "access_token": self.token.value,
            "token_type": Sensitive(self.token.token_type),
            "issued_at": Sensitive(str(int(self.token.issued_at))),
            "expires_at": Sensitive(str(int(self.token.expires_at))),
            "written_at": Sensitive(f"{self.token.written_at:.3f}"),
        }


def is_token_type(text: str) -> bool:
    return _TOKEN_TYPE.fullmatch(text) is not None


def parse_for_node(secret: Secret) -> Companion:
    """Raise InvalidSecret like `from_secret`, or if the token is larger than any we write."""
    companion = Companion.from_secret(secret)
    token, most = companion.token, MAX_ACCESS_TOKEN // 1024
    if token and (token.value.size > MAX_ACCESS_TOKEN or not is_token_type(token.token_type)):
        text = f"has an access token over {most} KiB or a long token type; log in again"
        problem = ask_for_login(text, companion.source)
        raise InvalidSecret(f"Secret {secret.namespace}/{secret.name}", [problem])
    return companion


def parse_or_none(secret: Secret | None) -> Companion | None:
    """Return None if the Secret is absent, is not a companion, or is damaged."""
    try:
        return None if secret is None else Companion.from_secret(secret)
    except InvalidSecret:
        return None


def generation_of(secret: Secret | None) -> int:
    """Return the generation that nodes have seen last, 0 if they have seen no companion."""
    companion = parse_or_none(secret)
    return 0 if companion is None else companion.generation


def _token(data: Mapping[str, Sensitive]) -> AccessToken | None:
    if not data.get("access_token"):
        return None
    return AccessToken(
        value=data["access_token"],
        token_type=data["token_type"].reveal(),
        issued_at=_instant(data["issued_at"]),
        expires_at=_instant(data["expires_at"]),
        written_at=_instant(data["written_at"]),
    )


def _count(text: str) -> int:
    count = int(text)
    if not 0 <= count <= MAX_INSTANT:
        raise ValueError("not a count")
    return count


def _instant(text: Sensitive) -> float:
    instant = float(text.reveal())
    if not 0 <= instant <= MAX_INSTANT:
        raise ValueError("not an instant")
    return instant
