"""The source: the mirror of the live document and the status annotations."""

import contextlib
from collections.abc import Mapping
from dataclasses import replace

from csidriver.core import annotations as core_annotations
from csidriver.core.kubernetes.secret import Secret, SecretPatch
from csidriver.core.kubernetes.timestamp import format_rfc3339
from csidriver.core.login_command import ask_for_login
from csidriver.core.oauth.token_document import DocumentError, TokenDocument
from csidriver.core.quoting import quote_untrusted
from csidriver.core.refresh import login_expiry
from csidriver.core.refresh.effects import EmitEvent, PatchSecret
from csidriver.core.refresh.grant import Grant
from csidriver.core.refresh.messages import WARNINGS
from csidriver.core.refresh.source import document_key, has_invalid_request, is_mirrorable
from csidriver.core.refresh.source_annotations import (
    StatusOverride,
    WrittenAnnotations,
    hides_failures,
    parse_warnings,
    status_annotations,
    withholds_token,
)
from csidriver.core.refresh.state import Effects, TokenState
from csidriver.core.sensitive import Sensitive
from csidriver.core.status import Status, TokenWarning
from csidriver.errors import StoreRefused

# Seconds until the next attempt after admission, a quota or `immutable` refused a mirror.
MIRROR_RETRY = 600.0

_NORMAL = (Status.READY, Status.PENDING)


def store_mirror(
    state: TokenState, override: StatusOverride | None, now: float, *, mirrors: bool
) -> Effects[TokenState]:
    """Write the mirror, if `mirrors` permits it, and the annotations; emit Events for changes."""
    if withholds_token(override):
        return (yield from _write_source(state, override, now, mirrors=False))
    state, new_warning = _count_expiry_warnings(state, now)
    state = yield from _write_source(state, override, now, mirrors=mirrors)
    if state.source is not None and state.grant is not None and new_warning:
        at = format_rfc3339(state.grant.refresh_expires_at)
        suffix = ask_for_login(f", at {at}; log in again", state.ref)
        warning = TokenWarning.REFRESH_TOKEN_EXPIRING
        yield from _emit_warning(state, state.source, warning, suffix)
    return state


def _count_expiry_warnings(state: TokenState, now: float) -> tuple[TokenState, bool]:
    """Count the due warnings of the login's end; the second result is True if one is new."""
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
    writes_data = mirrors or _has_replaced_token(state, source, override)
    state = _refuse_if_too_large(state, now) if writes_data else state
    data = _mirror_data(state, source, now) if writes_data else {}
    try:
        return (yield from _patch_source(state, source, override, data, now, mirrors=mirrors))
    except StoreRefused:
        if not data:
            return state
    first_refusal = state.mirror_refused_at is None
    state = replace(state, mirror_refused_at=now)
    try:
        # An immutable Secret refuses its data but not its annotations, which can say so.
        return (yield from _patch_source(state, source, override, {}, now, mirrors=mirrors))
    except StoreRefused:
        if first_refusal and TokenWarning.MIRROR_REFUSED not in parse_warnings(source.annotations):
            yield from _emit_warning(state, source, TokenWarning.MIRROR_REFUSED)
        return state


def _patch_source(
    state: TokenState,
    source: Secret,
    override: StatusOverride | None,
    data: Mapping[str, Sensitive],
    now: float,
    *,
    mirrors: bool,
) -> Effects[TokenState]:
    state = _after_mirror(state, state.grant) if data and state.grant else state
    desired = status_annotations(
        state.grant,
        override,
        mirror_refused=state.mirror_refused_at is not None,
        invalid_request=has_invalid_request(source),
    )
    annotations = _changed_annotations(state, source, desired)
    state = replace(state, annotate_at=None)
    if not annotations and not data:
        return state
    written = _next_written(state.written, desired, now)
    if written.at > now and not data:
        return replace(state, annotate_at=written.at)
    stored = yield from PatchSecret(source, SecretPatch(annotations=annotations, data=data))
    yield from _emit_events(state, source, desired)
    state = replace(
        state,
        written=replace(written, at=now),
        reported_status=desired[core_annotations.STATUS] or "",
    )
    if state.grant is not None and mirrors:
        # The grant's next patch stores this version.
        grant = replace(state.grant, source_version=stored.resource_version)
        state = replace(state, grant=grant)
    return state.with_source(stored)


def _next_written(
    before: WrittenAnnotations | None, desired: Mapping[str, str | None], now: float
) -> WrittenAnnotations:
    """Return when to write these annotations: at once, or later if they were written before.

    Somebody has removed those, perhaps a program that does so each time.
    """
    digest = hash(frozenset(desired.items()))
    if before is None or before.digest != digest:
        return WrittenAnnotations(digest, now, 0)
    pause = min(2.0**before.undone, MIRROR_RETRY) if before.undone else 0.0
    return WrittenAnnotations(digest, max(now, before.at + pause), before.undone + 1)


def _changed_annotations(
    state: TokenState, source: Secret, desired: Mapping[str, str | None]
) -> Mapping[str, str | None]:
    """Return the annotations that differ, or all if the present ones were never read."""
    skipped = core_annotations.NEXT_REFRESH if hides_failures(state.grant) else ""
    changed = {
        key: value
        for key, value in desired.items()
        if source.annotations.get(key) != value and key != skipped
    }
    return desired if changed and state.source_data_omitted else changed


def _after_mirror(state: TokenState, grant: Grant) -> TokenState:
    if grant.warning == TokenWarning.OLD_SEED_RESTORED.value:
        grant = replace(grant, warning="")
    return replace(state, grant=grant, mirrored_generation=grant.generation, mirror_refused_at=None)


def _refuse_if_too_large(state: TokenState, now: float) -> TokenState:
    """Treat a document that could not be read back from a source as refused."""
    if state.grant is None or not state.mirror_outdated or is_mirrorable(state.grant.document):
        return state
    return replace(state, mirror_refused_at=now)


def _has_replaced_token(state: TokenState, source: Secret, override: StatusOverride | None) -> bool:
    """Return True for a source whose fault is not in its document.

    Without a mirror it would keep a token that is forgotten one day, and then taken for a new one.
    """
    text, grant = source.data.get(document_key(source)), state.grant
    if text is None or grant is None or override is None or override.blocks:
        return False
    with contextlib.suppress(DocumentError):
        token = TokenDocument.parse(text)[0].refresh_token
        return token is not None and token.hash() in (*grant.seeds, *grant.spent)
    return False


def _mirror_data(state: TokenState, source: Secret, now: float) -> Mapping[str, Sensitive]:
    """Return the live document, only once per refresh: a GitOps tool may restore the old seed."""
    grant, refused_at = state.grant, state.mirror_refused_at
    if grant is None or not state.mirror_outdated:
        return {}
    if refused_at is not None and now < refused_at + MIRROR_RETRY:
        return {}
    key = grant.key if state.source_data_omitted else document_key(source)
    return {key: grant.document.to_json()}


def _emit_events(
    state: TokenState, source: Secret, desired: Mapping[str, str | None]
) -> Effects[None]:
    status = desired[core_annotations.STATUS]
    before = state.reported_status or source.annotations.get(core_annotations.STATUS)
    if status and before != status:
        message, normal = desired[core_annotations.MESSAGE] or "", Status(status) in _NORMAL
        unavailable = Status.ISSUER_UNAVAILABLE.value
        of_issuer = unavailable == status or (unavailable == before and normal)
        yield from EmitEvent(state.ref, source.uid, status, message, normal, of_issuer)
    present = parse_warnings(source.annotations)
    for warning in parse_warnings(desired):
        if warning not in present and warning is not TokenWarning.REFRESH_TOKEN_EXPIRING:
            # The field manager may be any text that its owner chose.
            restored = warning is TokenWarning.OLD_SEED_RESTORED and source.manager
            writer = f" (written by {quote_untrusted(source.manager)})" if restored else ""
            yield from _emit_warning(state, source, warning, writer)


def _emit_warning(
    state: TokenState, source: Secret, warning: TokenWarning, suffix: str = ""
) -> Effects[None]:
    message = WARNINGS[warning] + suffix
    yield from EmitEvent(state.ref, source.uid, warning.value, message, normal=False)
