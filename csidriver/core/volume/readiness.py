"""Whether a pod may start with what was seen of its token, and if not, what its user is told.

The texts end up verbatim in FailedMount events: they name the Secret and the cure, are stable
while the cause is, and carry no secret.
"""

from dataclasses import dataclass

from csidriver.core.annotations import IS_TOKEN
from csidriver.core.companion import AccessToken, Companion
from csidriver.core.kubernetes.timestamp import format_rfc3339
from csidriver.core.names import SourceRef
from csidriver.core.status import Status
from csidriver.core.volume.attributes import DEFAULT_MIN_VALIDITY
from csidriver.errors import (
    DriverError,
    NotReady,
    StoreError,
    StoreRefused,
    TokenUnavailable,
)

# Statuses that end by themselves.
_MAY_PASS = (Status.READY, Status.PENDING, Status.UNCERTAIN, Status.ISSUER_UNAVAILABLE)


@dataclass(frozen=True, slots=True)
class ObservedCompanion:
    """What is known of one companion: `looked` once the backend has answered at all.

    `error` is the backend's refusal or failure that came after the last answer.
    """

    answered: bool = False
    companion: Companion | None = None
    error: DriverError | None = None


def min_validity(token: AccessToken, wanted: float | None) -> float:
    """Seconds a token must still live at a pod's first start."""
    return min(DEFAULT_MIN_VALIDITY, token.lifetime / 4) if wanted is None else wanted


def is_valid_for_start(observed: ObservedCompanion, now: float, wanted: float | None) -> bool:
    """Whether a pod may start with this token."""
    token = None if observed.companion is None else observed.companion.token
    return token is not None and token.expires_at - now >= max(min_validity(token, wanted), 0.001)


def can_stop_waiting(observed: ObservedCompanion, now: float, wanted: float | None) -> bool:
    """Whether waiting a little longer is pointless: all is good, or only a user can help."""
    hopeless = observed.companion is not None and observed.companion.status not in _MAY_PASS
    refused = isinstance(observed.error, StoreRefused) and observed.companion is None
    return hopeless or refused or is_valid_for_start(observed, now, wanted)


def unavailable_error(
    ref: SourceRef, observed: ObservedCompanion, now: float, wanted: float | None = None
) -> DriverError:
    """The error for a volume without a good token."""
    companion = observed.companion
    if companion is None:
        if observed.error is not None:
            return _read_error(ref, observed.error)
        return NotReady(
            f"there is no token for Secret {ref} yet: does the Secret exist, is it annotated "
            f'{IS_TOKEN}: "true", and is the refresher running?'
        )
    if companion.status not in (Status.READY, Status.PENDING):
        return TokenUnavailable(f"Secret {ref} is {companion.status.value}: {companion.message}")
    if companion.token is None:
        return NotReady(f"Secret {ref} is {companion.status.value}: {companion.message}")
    if isinstance(observed.error, StoreError):
        return _read_error(ref, observed.error)
    least = min_validity(companion.token, wanted)
    expiry = format_rfc3339(companion.token.expires_at)
    return TokenUnavailable(
        f"the access token of Secret {ref} expires at {expiry}, "
        f"but minValidity asks for {least:.0f} s; {_next_refresh_text(companion, now)}"
    )


def expired_error(ref: SourceRef, observed: ObservedCompanion, now: float) -> NotReady:
    """The error for a published volume whose file holds a token that no server takes any more."""
    return _not_ready(f"the access token of Secret {ref} has expired", ref, observed, now)


def missing_error(ref: SourceRef, observed: ObservedCompanion, now: float) -> NotReady:
    """The error for a published volume whose file is gone, while no token can make a new one."""
    return _not_ready(f"the token file of Secret {ref} is gone", ref, observed, now)


def _not_ready(text: str, ref: SourceRef, observed: ObservedCompanion, now: float) -> NotReady:
    companion = observed.companion
    if companion is None:
        return NotReady(
            f"{text}, and nothing is known of a new one: {unavailable_error(ref, observed, now)}"
        )
    state = f"{companion.status.value}: {companion.message}"
    failure = f"; {observed.error}" if isinstance(observed.error, StoreError) else ""
    return NotReady(f"{text}; it is {state}; {_next_refresh_text(companion, now)}{failure}")


def _read_error(ref: SourceRef, error: DriverError) -> DriverError:
    """The same error with what it is about; its code stays."""
    if not isinstance(error, StoreError):
        return error
    return type(error)(f"the token of Secret {ref} cannot be read: {error}; it is tried again")


def _next_refresh_text(companion: Companion, now: float) -> str:
    """When the refresher means to try again."""
    if companion.next_refresh > now:
        return f"next refresh: {format_rfc3339(companion.next_refresh)}"
    return "next refresh: due" if companion.next_refresh else "no refresh is planned"
