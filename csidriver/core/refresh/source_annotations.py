"""What the annotations of a source say: status, warnings and instants of one token."""

from collections.abc import Mapping
from dataclasses import dataclass

from csidriver.core import annotations as core_annotations
from csidriver.core.kubernetes.timestamp import format_rfc3339
from csidriver.core.refresh.grant import Grant
from csidriver.core.status import Status, TokenWarning

_SEPARATOR = ", "


@dataclass(frozen=True, slots=True)
class StatusOverride:
    """A status that overrides the grant's.

    Unless it `blocks`, only the source's author is told: a broken edit stops no working grant.
    """

    status: Status
    message: str
    blocks: bool = False


def status_annotations(
    grant: Grant | None, override: StatusOverride | None, *, mirror_refused: bool
) -> dict[str, str | None]:
    """Our annotations of the source; None for those that must not be there."""
    said = override or grant
    following = grant.next_refresh if grant is not None else None
    return {
        core_annotations.STATUS: said.status.value if said else Status.PENDING.value,
        core_annotations.MESSAGE: said.message if said else "",
        core_annotations.WARNING: _SEPARATOR.join(_warnings(grant, mirror_refused)) or None,
        core_annotations.EXPIRES_AT: format_rfc3339(grant.expires_at)
        if grant and grant.expires_at
        else None,
        core_annotations.REFRESHED_AT: format_rfc3339(grant.issued_at)
        if grant and grant.issued_at
        else None,
        core_annotations.NEXT_REFRESH: format_rfc3339(following) if following else None,
    }


def _warnings(grant: Grant | None, mirror_refused: bool) -> list[str]:  # noqa: FBT001 - private
    held = [] if grant is None or not grant.warning else [grant.warning]
    if mirror_refused:
        # Then nobody has restored the old token that stands there: it was never replaced.
        held = [warning for warning in held if warning != TokenWarning.OLD_SEED_RESTORED.value]
        held.append(TokenWarning.MIRROR_REFUSED.value)
    if grant is not None and grant.expiry_warnings:
        held.append(TokenWarning.REFRESH_TOKEN_EXPIRING.value)
    return held


def parse_warnings(notes: Mapping[str, str | None]) -> list[TokenWarning]:
    """The warnings an annotation names; what else a user may have written there counts for none."""
    said = (notes.get(core_annotations.WARNING) or "").split(_SEPARATOR)
    return [warn for warn in TokenWarning if warn.value in said]


def hides_failures(grant: Grant) -> bool:
    """Whether attempts fail that concern nobody yet: the access token has time (section 5)."""
    return grant.failures > 0 and grant.status is Status.READY
