"""Checks of the driver's writes to sources and companions (invariants 4, 5, 8 and 13)."""

from collections.abc import Iterator

from csidriver.core import annotations
from csidriver.core.companion import Companion
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import SourceRef
from csidriver.core.oauth.token_document import DocumentError, TokenDocument
from tests.simulator.history import TokenHistory
from tests.simulator.parameters import RunParameters


def refresh_token(secret: Secret) -> str | None:
    try:
        token = TokenDocument.parse(secret.data[annotations.KEY_OAUTH])[0].refresh_token
    except (KeyError, DocumentError):
        return None
    return None if token is None else token.reveal()


def check_source(
    history: TokenHistory, before: Secret | None, after: Secret | None
) -> Iterator[str]:
    if before is None:
        yield "5: a deleted source is created"
        return
    if after is None:
        yield "5: a source is deleted"
        return
    for key in (annotations.KEY_CLIENT_ID, annotations.KEY_CLIENT_SECRET):
        if before.data.get(key) != after.data.get(key):
            yield f"5: {key} is written"
    if before.data == after.data:
        return
    yield from _check_mirror(history, before, after)


def _check_mirror(history: TokenHistory, before: Secret, after: Secret) -> Iterator[str]:
    was, now = refresh_token(before), refresh_token(after)
    if not history.live:
        if now is not None:
            yield f"17: {now} is written to a source without a refresh token"
        return
    if now is None:
        yield "5: a mirror without a refresh token"
    elif was is None or was not in history.was_live:
        yield f"4: {was} of a human is overwritten"
    if '"extra":1.50' not in after.data[annotations.KEY_OAUTH].reveal():
        yield "5: an unknown field is lost"


def check_companion(
    ref: SourceRef,
    history: TokenHistory,
    before: Secret | None,
    after: Secret | None,
    now: float,
    parameters: RunParameters,
) -> Iterator[str]:
    if after is None:
        history.companion_generation = 0
        return
    written = Companion.from_secret(after)
    if written.source != ref:
        yield f"13: the companion of {ref.name} is about {written.source.name}"
    if written.generation < history.companion_generation:
        yield "13: a companion's generation went down"
    if written.generation > max(history.generation, history.companion_generation):
        yield "13: a companion is ahead of its grant"
    if (
        written.token
        and written.generation == history.generation
        and (written.token.value.reveal() != history.access)
    ):
        yield "13: a companion holds another token than its grant"
    history.companion_generation = written.generation
    replaced = None if before is None else Companion.from_secret(before).token
    if parameters.scenario == "calm" and replaced is not None and now > replaced.expires_at:
        yield f"8: an expired token lay in the companion for {now - replaced.expires_at:.1f} s"
