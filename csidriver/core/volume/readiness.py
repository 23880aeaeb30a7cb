"""The decision whether a pod may start with its token, and the error if it may not.

Kubelet copies the texts into FailedMount events. So they name the Secret and the remedy, stay the
same while the cause stays, and contain no secret.
"""

from dataclasses import dataclass

from csidriver.core.annotations import IS_TOKEN
from csidriver.core.companion import AccessToken, Companion
from csidriver.core.kubernetes.timestamp import format_rfc3339
from csidriver.core.login_command import ask_for_login
from csidriver.core.names import SourceRef
from csidriver.core.status import Status
from csidriver.core.volume.attributes import DEFAULT_MIN_VALIDITY
from csidriver.errors import DriverError, NotReady, StoreError, StoreRefused, TokenUnavailable

# The refresher can leave these statuses without the user.
_TEMPORARY = (Status.READY, Status.PENDING, Status.UNCERTAIN, Status.ISSUER_UNAVAILABLE)

# Seconds that a token may need from the refresher to a node.
_TRAVEL = 5.0


@dataclass(frozen=True, slots=True)
class ObservedCompanion:
    """The last state of a companion that a watch has reported.

    `answered` is true once the backend has answered. `error` is newer than the last answer.
    `age` is the time of this node less `written_at` of the token, when the token arrived. If the
    token was written while the node watched (`live`), it is how far this node's clock is ahead.
    """

    answered: bool = False
    companion: Companion | None = None
    error: DriverError | None = None
    age: float = 0.0
    live: bool = False


def min_validity(token: AccessToken, wanted: float | None) -> float:
    """Return the seconds that a token must still live when its pod starts."""
    return min(DEFAULT_MIN_VALIDITY, token.lifetime / 4) if wanted is None else wanted


def is_valid_for_start(observed: ObservedCompanion, now: float, wanted: float | None) -> bool:
    token = None if observed.companion is None else observed.companion.token
    return token is not None and token.expires_at - now >= max(min_validity(token, wanted), 0.001)


def can_stop_waiting(observed: ObservedCompanion, now: float, wanted: float | None) -> bool:
    """Return whether waiting cannot help: the token is valid, or only the user can fix it."""
    final = observed.companion is not None and observed.companion.status not in _TEMPORARY
    refused = isinstance(observed.error, StoreRefused) and observed.companion is None
    return final or refused or is_valid_for_start(observed, now, wanted)


def unavailable_error(
    ref: SourceRef, observed: ObservedCompanion, now: float, wanted: float | None = None
) -> DriverError:
    """Return the error for a volume that cannot be published yet."""
    companion = observed.companion
    if companion is None:
        if observed.error is not None:
            return _read_error(ref, observed.error)
        text = (
            f"there is no token for Secret {ref} yet: is secretName in the pod spelt right "
            f"(kubectl oauth2-csi status -n {ref.namespace} lists the tokens), does the Secret "
            f'exist, is it annotated {IS_TOKEN}: "true", and is the refresher running? A login '
            "creates the Secret"
        )
        return NotReady(ask_for_login(text, ref))
    if companion.status not in (Status.READY, Status.PENDING):
        return TokenUnavailable(f"Secret {ref} is {companion.status.value}: {companion.message}")
    if companion.token is None:
        return NotReady(f"Secret {ref} is {companion.status.value}: {companion.message}")
    if isinstance(observed.error, StoreError):
        return _read_error(ref, observed.error)
    least = min_validity(companion.token, wanted)
    expiry = format_rfc3339(companion.token.expires_at)
    text = f"expires at {expiry}, but minValidity asks for {least:.0f} s"
    if companion.token.expires_at <= now:
        text = f"expired at {expiry}"
    return TokenUnavailable(
        f"the access token of Secret {ref} {text}; "
        f"{_next_refresh_text(companion, now)}{_clock_text(observed)}"
    )


def expired_error(ref: SourceRef, observed: ObservedCompanion, now: float) -> NotReady:
    """Return the error for a published volume whose token has expired."""
    return _not_ready(f"the access token of Secret {ref} has expired", ref, observed, now)


def missing_error(ref: SourceRef, observed: ObservedCompanion, now: float) -> NotReady:
    """Return the error for a published volume whose file was removed, without a new token."""
    return _not_ready(f"the token file of Secret {ref} is missing", ref, observed, now)


def _not_ready(text: str, ref: SourceRef, observed: ObservedCompanion, now: float) -> NotReady:
    companion = observed.companion
    if companion is None:
        return NotReady(f"{text}, and no new one is known: {unavailable_error(ref, observed, now)}")
    state = f"{companion.status.value}: {companion.message}"
    failure = f"; {observed.error}" if isinstance(observed.error, StoreError) else ""
    clock = _clock_text(observed)
    return NotReady(f"{text}; it is {state}; {_next_refresh_text(companion, now)}{failure}{clock}")


def _read_error(ref: SourceRef, error: DriverError) -> DriverError:
    if not isinstance(error, StoreError):
        return error
    return type(error)(
        f"the token of Secret {ref} cannot be read: {error}; the node plugin tries again"
    )


def _clock_text(observed: ObservedCompanion) -> str:
    """Return how this node's clock differs from the refresher's, if a token shows a difference."""
    if observed.age < -_TRAVEL:
        return f"; the clock of this node is {-observed.age:.0f} s behind the refresher's"
    if observed.age <= _TRAVEL:
        return ""
    if observed.live:
        return f"; the clock of this node is {observed.age:.0f} s ahead of the refresher's"
    return (
        f"; the token was {observed.age:.0f} s old when this node first read it: the refresher "
        "stands still, or the clock of this node is ahead"
    )


def _next_refresh_text(companion: Companion, now: float) -> str:
    if companion.next_refresh > now:
        return f"next refresh: {format_rfc3339(companion.next_refresh)}"
    return "next refresh: due" if companion.next_refresh else "no refresh is planned"
