"""The companion: the Secret in the tokens namespace that nodes read.

It holds an access token and a status, never anything that renews.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from csidriver.core import annotations as core_annotations
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.kubernetes.timestamp import format_rfc3339, parse_rfc3339
from csidriver.core.names import SourceRef
from csidriver.core.sensitive import Sensitive
from csidriver.core.status import Status
from csidriver.errors import InvalidSecret


@dataclass(frozen=True, slots=True)
class AccessToken:
    """An access token; all instants in epoch seconds, `written_at` with milliseconds."""

    value: Sensitive
    token_type: str
    issued_at: float
    expires_at: float
    written_at: float = 0.0

    @property
    def lifetime(self) -> float:
        """Seconds from issue to expiry."""
        return self.expires_at - self.issued_at


@dataclass(frozen=True, slots=True)
class Companion:
    """What the refresher tells nodes about one source."""

    source: SourceRef
    source_uid: str
    generation: int
    status: Status
    message: str
    next_refresh: float
    token: AccessToken | None

    @classmethod
    def from_secret(cls, secret: Secret) -> "Companion":
        """Raises InvalidSecret when the Secret is none of ours or was damaged."""
        annotations = secret.annotations if secret.type == core_annotations.COMPANION_TYPE else {}
        try:
            return cls(
                source=SourceRef(
                    annotations[core_annotations.SOURCE_NAMESPACE],
                    annotations[core_annotations.SOURCE_NAME],
                ),
                source_uid=annotations[core_annotations.SOURCE_UID],
                generation=int(annotations[core_annotations.GENERATION]),
                status=Status(annotations[core_annotations.STATUS]),
                message=annotations.get(core_annotations.MESSAGE, ""),
                next_refresh=parse_rfc3339(annotations.get(core_annotations.NEXT_REFRESH, ""))
                or 0.0,
                token=_token(secret.data),
            )
        except (KeyError, ValueError) as error:
            raise InvalidSecret(
                f"Secret {secret.namespace}/{secret.name}",
                [f"is no companion ({type(error).__name__}); delete it, the refresher restores it"],
            ) from None

    def annotations(self) -> dict[str, str]:
        """The annotations of the Secret."""
        return {
            core_annotations.SOURCE_NAMESPACE: self.source.namespace,
            core_annotations.SOURCE_NAME: self.source.name,
            core_annotations.SOURCE_UID: self.source_uid,
            core_annotations.GENERATION: str(self.generation),
            core_annotations.STATUS: self.status.value,
            core_annotations.MESSAGE: self.message,
            core_annotations.NEXT_REFRESH: format_rfc3339(self.next_refresh),
        }

    def data(self) -> dict[str, Sensitive]:
        """The data of the Secret; empty while there is no access token."""
        if self.token is None:
            return {}
        return {
            "access_token": self.token.value,
            "token_type": Sensitive(self.token.token_type),
            "issued_at": Sensitive(str(int(self.token.issued_at))),
            "expires_at": Sensitive(str(int(self.token.expires_at))),
            "written_at": Sensitive(f"{self.token.written_at:.3f}"),
        }


def parse_or_none(secret: Secret | None) -> Companion | None:
    """What a Secret tells nodes, None if it is absent, none of ours or damaged."""
    try:
        return None if secret is None else Companion.from_secret(secret)
    except InvalidSecret:
        return None


def generation_of(secret: Secret | None) -> int:
    """The generation that nodes have seen last, 0 if none."""
    seen = parse_or_none(secret)
    return 0 if seen is None else seen.generation


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


def _instant(text: Sensitive) -> float:
    instant = float(text.reveal())
    if not math.isfinite(instant):
        raise ValueError("no instant")
    return instant
