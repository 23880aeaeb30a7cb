"""The status annotations of a source."""

from collections.abc import Mapping
from dataclasses import dataclass

from csidriver.core import annotations as core_annotations
from csidriver.core.kubernetes.timestamp import format_rfc3339
from csidriver.core.refresh import login_expiry
from csidriver.core.refresh.grant import Grant
from csidriver.core.status import Status, TokenWarning
from csidriver.errors import DriverError, InvalidSecret

_SEPARATOR = ", "


@dataclass(frozen=True, slots=True)
class StatusOverride:
    """A status that overrides the grant's on the source.

    If `blocks` is False, the companion keeps the grant's status, so that a bad edit of the source
    does not affect running pods. With `withholds_token` nobody gets the grant's access token.
    """

    status: Status
    message: str
    blocks: bool = False
    withholds_token: bool = False

    @classmethod
    def of_error(
        cls, error: DriverError, *, blocks: bool, withholds_token: bool = False
    ) -> "StatusOverride":
        """Return the status of a source that cannot be used: Invalid, or Misconfigured."""
        if isinstance(error, InvalidSecret):
            return cls(Status.INVALID, "; ".join(error.problems), blocks, withholds_token)
        return cls(Status.MISCONFIGURED, str(error), blocks, withholds_token)


@dataclass(frozen=True, slots=True)
class WrittenAnnotations:
    """The annotations of a source last written at `at`, and how often that was undone before."""

    digest: int
    at: float
    undone: int


def withholds_token(override: StatusOverride | None) -> bool:
    """Return True if nobody gets the access token, or anything else, of the grant."""
    return override is not None and override.withholds_token


def status_annotations(
    grant: Grant | None,
    override: StatusOverride | None,
    *,
    mirror_refused: bool,
    invalid_request: bool = False,
) -> dict[str, str | None]:
    """Return the annotations of the source; None removes one."""
    if withholds_token(override):
        grant = None
    current = override or grant
    message = override.message if override else grant.user_message if grant else ""
    expires_at = grant.expires_at if grant else 0.0
    refreshed_at = grant.issued_at if grant else 0.0
    next_refresh = grant.next_refresh if grant else None
    login_end = grant.refresh_expires_at if grant and login_expiry.is_final(grant) else 0.0
    warnings = _warnings(grant, mirror_refused)
    if invalid_request:
        warnings.append(TokenWarning.INVALID_REFRESH_REQUEST.value)
    return {
        core_annotations.STATUS: current.status.value if current else Status.PENDING.value,
        core_annotations.MESSAGE: message,
        core_annotations.WARNING: _SEPARATOR.join(warnings) or None,
        core_annotations.EXPIRES_AT: format_rfc3339(expires_at) if expires_at else None,
        core_annotations.REFRESHED_AT: format_rfc3339(refreshed_at) if refreshed_at else None,
        core_annotations.NEXT_REFRESH: format_rfc3339(next_refresh) if next_refresh else None,
        core_annotations.BOUND_ISSUER: grant.issuer if grant else None,
        core_annotations.LOGIN_EXPIRES_AT: format_rfc3339(login_end) if login_end else None,
    }


def _warnings(grant: Grant | None, mirror_refused: bool) -> list[str]:  # noqa: FBT001 - private
    warnings = [] if grant is None or not grant.warning else [grant.warning]
    if mirror_refused:
        # The old token in the source was not restored, but never replaced.
        warnings = [
            warning for warning in warnings if warning != TokenWarning.OLD_SEED_RESTORED.value
        ]
        warnings.append(TokenWarning.MIRROR_REFUSED.value)
    if grant is not None and grant.expiry_warnings:
        warnings.append(TokenWarning.REFRESH_TOKEN_EXPIRING.value)
    return warnings


def parse_warnings(annotations: Mapping[str, str | None]) -> list[TokenWarning]:
    """Return the warnings in the annotation; ignore other words, which a user may have written."""
    words = (annotations.get(core_annotations.WARNING) or "").split(_SEPARATOR)
    return [warning for warning in TokenWarning if warning.value in words]


def hides_failures(grant: Grant | None) -> bool:
    """Return True if users need not know of failures: the access token is valid."""
    return grant is not None and grant.failures > 0 and grant.status is Status.READY
