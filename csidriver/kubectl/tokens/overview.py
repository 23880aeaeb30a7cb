"""A token with its pods: as a row of a table, and as an object for programs."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from csidriver.core import annotations
from csidriver.core.names import DRIVER_NAME, SourceRef
from csidriver.core.status import Status
from csidriver.kubectl.next_step import next_step, with_step
from csidriver.kubectl.output.ages import human_duration
from csidriver.kubectl.tokens.pod_volumes import PodVolume
from csidriver.kubectl.tokens.token import Token

NONE, UNKNOWN = "<none>", "<unknown>"
HEADERS = (
    *("NAMESPACE", "NAME", "ISSUER", "GRANT", "STATUS", "EXPIRES", "REFRESH", "PODS", "MESSAGE"),
)
WIDE_HEADERS = (*HEADERS[:-1], "REFRESHED", "LOGIN ENDS", "AGE", "WARNING", "MESSAGE")


@dataclass(frozen=True, slots=True)
class Overview:
    """A token and the pods that mount it; None if the user may not list pods."""

    token: Token
    pods: Sequence[str] | None

    def row(self, now: float, *, wide: bool) -> list[str]:
        """Return the cells of HEADERS, or of WIDE_HEADERS."""
        token = self.token
        cells = [
            *(token.ref.namespace, token.ref.name, token.issuer or NONE, grant(token), token.state),
            remaining(token.instant(annotations.EXPIRES_AT), now, "expired"),
            remaining(token.instant(annotations.NEXT_REFRESH), now, "due"),
            UNKNOWN if self.pods is None else str(len(self.pods)),
        ]
        if wide:
            cells += [
                age(token.instant(annotations.REFRESHED_AT), now),
                remaining(token.instant(annotations.LOGIN_EXPIRES_AT), now, "ended"),
                age(token.created_at, now),
                ",".join(warning.value for warning in token.warnings) or NONE,
            ]
        return [*cells, self.message(now)]

    def message(self, now: float) -> str:
        """Return the message, of a token that works the warnings; it ends in the next step."""
        works = self.token.state == Status.READY.value
        warnings = ", ".join(warning.value for warning in self.token.warnings)
        text = warnings if works and warnings else self.token.message
        return with_step(text, next_step(self.token, now))

    def to_object(self) -> dict[str, Any]:
        """Return the token as an object; a later version may add fields, and removes none."""
        token = self.token
        instants: Mapping[str, str] = {
            "expiresAt": annotations.EXPIRES_AT,
            "refreshedAt": annotations.REFRESHED_AT,
            "nextRefresh": annotations.NEXT_REFRESH,
            "loginExpiresAt": annotations.LOGIN_EXPIRES_AT,
        }
        status: dict[str, Any] = {
            "status": token.state,
            "message": token.message,
            "issuer": token.issuer,
            "grantType": token.grant_type,
            "warnings": [warning.value for warning in token.warnings],
        }
        status |= {key: text for key, name in instants.items() if (text := token.values[name])}
        if token.login is not None:
            status["login"] = token.login.name
        if self.pods is not None:
            status["pods"] = list(self.pods)
        metadata = {
            "name": token.ref.name,
            "namespace": token.ref.namespace,
            "uid": token.uid,
            "creationTimestamp": token.created,
        }
        version = f"{DRIVER_NAME}/v1"
        return {"apiVersion": version, "kind": "Token", "metadata": metadata, "status": status}


def grant(token: Token) -> str:
    """Return how the token is renewed, of a derived one also from which login."""
    return token.grant_type if token.login is None else f"{token.grant_type} ({token.login.name})"


def remaining(instant: float | None, now: float, past: str) -> str:
    """Return the time until an instant, `past` if it is over."""
    if instant is None:
        return NONE
    return human_duration(instant - now) if instant > now else past


def age(instant: float | None, now: float) -> str:
    # Clocks differ a little.
    return NONE if instant is None else human_duration(max(0.0, now - instant))


def overviews(tokens: Iterable[Token], volumes: Iterable[PodVolume] | None) -> list[Overview]:
    """Join tokens with the pods that mount them and have not ended."""
    pods: dict[SourceRef, Counter[str]] = {}
    for volume in volumes or ():
        if not volume.has_ended:
            pods.setdefault(volume.token, Counter())[volume.pod] += 1
    return [
        Overview(token, None if volumes is None else sorted(pods.get(token.ref, ())))
        for token in tokens
    ]
