"""The source: the mirror of the live document and the status annotations."""

from collections.abc import Mapping
from dataclasses import replace

from csidriver.core import annotations as core_annotations
from csidriver.core.kubernetes.secret import Secret, SecretPatch
from csidriver.core.kubernetes.timestamp import format_rfc3339
from csidriver.core.quoting import quote_untrusted
from csidriver.core.refresh import login_expiry
from csidriver.core.refresh.effects import EmitEvent, PatchSecret
from csidriver.core.refresh.grant import Grant
from csidriver.core.refresh.messages import WARNINGS
from csidriver.core.refresh.source import document_key
from csidriver.core.refresh.source_annotations import (
    StatusOverride,
    hides_failures,
    parse_warnings,
    status_annotations,
)
from csidriver.core.refresh.state import Effects, TokenState
from csidriver.core.sensitive import Sensitive
from csidriver.core.status import Status, TokenWarning
from csidriver.errors import StoreRefused

# A mirror that admission, a quota or `immutable` refused is tried again after so many seconds.
MIRROR_RETRY = 600.0

_NORMAL = (Status.READY, Status.PENDING)


def store_mirror(
    state: TokenState, override: StatusOverride | None, now: float, *, mirrors: bool
) -> Effects[TokenState]:
    """Write mirror and annotations where they differ; `mirrors` permits the mirror."""
    state, step = _count_expiry_warnings(state, now)
    state = yield from _write_source(state, override, now, mirrors=mirrors)
    if state.source is not None and state.grant is not None and step:
        yield from _emit_expiry_warning(state.source, state.grant)
    return state


def _count_expiry_warnings(state: TokenState, now: float) -> tuple[TokenState, bool]:
    """The grant with the warnings of its end that are due, and whether one of them is new."""
    grant = state.grant
    due = 0 if grant is None else login_expiry.warnings_due(grant, now)
    if grant is None or grant.expiry_warnings == due:
        return state, False
    return replace(state, grant=replace(grant, expiry_warnings=due)), due > grant.expiry_warnings


def _write_source(
    state: TokenState, override: StatusOverride | None, now: float, *, mirrors: bool
) -> Effects[TokenState]:
    source, grant = state.source, state.grant
    if source is None:
        return state
    if grant is not None and source.data.get(document_key(source)) == grant.document.to_json():
        state = _after_mirror(state, grant)
    state = _refuse_if_too_large(state, now) if mirrors else state
    data = _mirror_data(state, source, now) if mirrors else {}
    cured = _after_mirror(state, grant) if data and grant is not None else state
    wanted = status_annotations(
        cured.grant, override, mirror_refused=cured.mirror_refused_at is not None
    )
    notes = _changed_annotations(cured, source, wanted)
    if not notes and not data:
        return state
    try:
        stored = yield from PatchSecret(source, SecretPatch(annotations=notes, data=data))
    except StoreRefused:
        if not data:
            return state
        # An immutable Secret refuses its data but not its annotations, which can say so.
        first, state = state.mirror_refused_at is None, replace(state, mirror_refused_at=now)
        written = yield from _write_source(state, override, now, mirrors=mirrors)
        told = written is not state or TokenWarning.MIRROR_REFUSED in parse_warnings(
            source.annotations
        )
        # Where even those are refused, an Event is left.
        yield from (
            _emit_warning(state, source, TokenWarning.MIRROR_REFUSED) if first and not told else ()
        )
        return written
    yield from _emit_events(state, source, wanted)
    return _with_stored_source(cured, stored, mirrors=mirrors)


def _changed_annotations(
    state: TokenState, source: Secret, wanted: Mapping[str, str | None]
) -> Mapping[str, str | None]:
    """The annotations that differ; all of them where what there is was never read."""
    skipped = core_annotations.NEXT_REFRESH if state.grant and hides_failures(state.grant) else ""
    differ = {
        key: value
        for key, value in wanted.items()
        if source.annotations.get(key) != value and key != skipped
    }
    return wanted if differ and state.source_data_omitted else differ


def _with_stored_source(state: TokenState, stored: Secret, *, mirrors: bool) -> TokenState:
    """The source was written: its version goes into the grant with that one's next patch."""
    if state.grant is not None and mirrors:
        grant = replace(state.grant, source_version=stored.resource_version)
        state = replace(state, grant=grant)
    return state.with_source(stored)


def _after_mirror(state: TokenState, grant: Grant) -> TokenState:
    """What is known once the source holds the live document."""
    if grant.warning == TokenWarning.OLD_SEED_RESTORED.value:
        grant = replace(grant, warning="")
    return replace(state, grant=grant, mirrored_generation=grant.generation, mirror_refused_at=None)


def _refuse_if_too_large(state: TokenState, now: float) -> TokenState:
    """A document that nobody could read back as a source counts as refused before it is sent."""
    grant = state.grant
    if (
        grant is None
        or state.mirrored_generation >= grant.generation
        or grant.document.is_mirrorable
    ):
        return state
    return replace(state, mirror_refused_at=now)


def _mirror_data(state: TokenState, source: Secret, now: float) -> Mapping[str, Sensitive]:
    """The live document, once per refresh: no fight with a GitOps tool over a restored seed."""
    grant = state.grant
    if grant is None or state.mirrored_generation >= grant.generation:
        return {}
    if state.mirror_refused_at is not None and now < state.mirror_refused_at + MIRROR_RETRY:
        return {}
    return {
        grant.key if state.source_data_omitted else document_key(source): grant.document.to_json()
    }


def _emit_events(
    state: TokenState, source: Secret, wanted: Mapping[str, str | None]
) -> Effects[None]:
    """An Event when the status changes or a warning appears, none for what repeats."""
    status = wanted[core_annotations.STATUS]
    before = source.annotations.get(core_annotations.STATUS)
    if status and before != status:
        message, normal = wanted[core_annotations.MESSAGE] or "", Status(status) in _NORMAL
        unavailable = Status.ISSUER_UNAVAILABLE.value
        of_issuer = unavailable == status or (unavailable == before and normal)
        yield from EmitEvent(state.ref, source.uid, status, message, normal, of_issuer)
    told = parse_warnings(source.annotations)
    for warn in parse_warnings(wanted):
        if warn not in told and warn is not TokenWarning.REFRESH_TOKEN_EXPIRING:
            # Who put it back is whom to talk to; a field manager is a name its owner chose.
            restored = warn is TokenWarning.OLD_SEED_RESTORED and source.manager
            by = f" (written by {quote_untrusted(source.manager)})" if restored else ""
            yield from _emit_warning(state, source, warn, by)


def _emit_warning(
    state: TokenState, source: Secret, warn: TokenWarning, by: str = ""
) -> Effects[None]:
    yield from EmitEvent(state.ref, source.uid, warn.value, WARNINGS[warn] + by, normal=False)


def _emit_expiry_warning(source: Secret, grant: Grant) -> Effects[None]:
    """One Event at each step, though the annotation stays the same."""
    warn = TokenWarning.REFRESH_TOKEN_EXPIRING
    ref, at = grant.ref, format_rfc3339(grant.refresh_expires_at)
    yield from EmitEvent(ref, source.uid, warn.value, f"{WARNINGS[warn]} (at {at})", normal=False)
