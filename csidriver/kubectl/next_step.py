"""The command that helps a token most, from its status, and texts that end in it."""

import shlex
from collections.abc import Mapping

from csidriver.core import annotations
from csidriver.core.login_command import describe_command, login_command
from csidriver.core.names import SourceRef
from csidriver.core.status import Status, TokenWarning
from csidriver.kubectl.tokens.token import Token

# Seconds after which the refresher has met a Secret.
PATIENT = 60.0
_LOGIN = frozenset(
    (Status.NEEDS_REAUTH, Status.LOST_ROTATION, Status.DUPLICATE_GRANT, Status.INVALID)
)
_DOCTOR = frozenset((Status.ISSUER_UNAVAILABLE, Status.CLIENT_REJECTED, Status.MISCONFIGURED))


def next_step(token: Token, now: float) -> str:
    """Return a command, empty if there is nothing to do."""
    status = Status(token.state) if token.state in _VALUES else None
    expires_at = token.instant(annotations.EXPIRES_AT)
    is_expired = expires_at is not None and expires_at <= now
    if status is Status.WAITS_FOR_LOGIN and token.login is not None:
        return describe_command(token.login)
    if status in _LOGIN or TokenWarning.REFRESH_TOKEN_EXPIRING in token.warnings:
        # What else is wrong with a Secret that needs no login its message says.
        return login_command(token.ref) if token.needs_login else ""
    if status in _DOCTOR or is_expired or _is_overlooked(token, now):
        words = ["kubectl", "oauth2-csi", "doctor", *([token.issuer] if token.issuer else [])]
        return shlex.join(words)
    return ""


_VALUES: Mapping[str, Status] = {status.value: status for status in Status}


def with_step(text: str, step: str) -> str:
    """Return a text that ends in the command, unless it names one already."""
    return text if not step or "; run: " in text else f"{text}; run: {step}".removeprefix("; ")


def watch_command(ref: SourceRef) -> str:
    return f"kubectl oauth2-csi status {ref.name} -n {ref.namespace} -w"


def _is_overlooked(token: Token, now: float) -> bool:
    """Return whether the refresher should have met the token by now."""
    created_at = token.created_at
    is_old = created_at is not None and now - created_at > PATIENT
    return is_old and not token.values[annotations.STATUS]
