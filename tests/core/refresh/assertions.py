"""Questions to the world of a test, and interference with it."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from csidriver.core import names
from csidriver.core.companion import Companion
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.oauth.token_document import TokenDocument
from csidriver.core.refresh import effects, grant_secret
from csidriver.core.refresh.effects import Effect, PatchSecret, RequestToken
from csidriver.core.refresh.grant import Grant
from csidriver.errors import DriverError
from tests.core.refresh.world import REF, Crashed, Process, World

GRANT = (names.DRIVER_NAMESPACE, REF.grant)
COMPANION = (names.TOKENS_NAMESPACE, REF.companion)
SOURCE = (REF.namespace, REF.name)
LIFE = 3600.0


def document(token: str, **more: Any) -> str:
    return json.dumps({"access_token": "opaque", "refresh_token": token, "extra": 1.5} | more)


def source(world: World) -> Secret:
    return world.secrets[SOURCE]


def note(world: World, key: str) -> str:
    return source(world).annotations.get(key, "")


def mirrored(world: World) -> str:
    token = TokenDocument.parse(source(world).data["oauth"])[0].refresh_token
    return "" if token is None else token.reveal()


def grant(world: World) -> Grant:
    return grant_secret.from_secret(world.secrets[GRANT])


def delete(world: World, key: tuple[str, str]) -> None:
    del world.secrets[key]


def live(world: World) -> str:
    token = grant(world).document.refresh_token
    return "" if token is None else token.reveal()


def companion(world: World) -> Companion:
    return Companion.from_secret(world.secrets[COMPANION])


def reasons(world: World) -> list[str]:
    return [e.reason for e in world.done if isinstance(e, effects.EmitEvent)]


def presented_twice(world: World) -> list[str]:
    """Tokens that were presented after the server had answered for them."""
    tokens = world.server.tokens()
    return [t for t in set(tokens) if tokens.count(t) > 1 and t in world.server.answered]


def fail_next(
    world: World, kind: type[Effect[Any]], error: DriverError, *, times: int = 1, on: str = ""
) -> None:
    """The next effects of a kind, on an object whose name begins so, fail without happening."""
    left = times

    def before(effect: Effect[Any]) -> None:
        nonlocal left
        name = effect.base.name if isinstance(effect, PatchSecret) else ""
        if left > 0 and isinstance(effect, kind) and name.startswith(on):
            left -= 1
            raise error

    world.before = before


def once(when: Callable[[Effect[Any]], bool], act: Callable[[], object]) -> Callable[..., None]:
    """A hook that acts at the first effect of interest."""
    waiting = [act]

    def hook(effect: Effect[Any]) -> None:
        if waiting and when(effect):
            waiting.pop()()

    return hook


def is_commit(effect: Effect[Any]) -> bool:
    """A patch of the grant that is no intent: the generation in it has moved, or a status."""
    if not isinstance(effect, PatchSecret) or not effect.base.name.startswith("grant-"):
        return False
    state = effect.patch.data[grant_secret.STATE]
    assert state is not None
    intent = json.loads(state.reveal())["intent"]
    return intent is None or intent["recorded"]


def crash() -> None:
    raise Crashed


def any_sent(world: World) -> bool:
    return any(isinstance(e, RequestToken) for e in world.done)


def count(world: World, kind: type[Effect[Any]]) -> int:
    return sum(isinstance(e, kind) for e in world.done)


READS = (effects.GetSecret,)


WRITES = (effects.CreateSecret, effects.PatchSecret, effects.DeleteSecret)


def cost(world: World, act: Callable[[], object]) -> tuple[int, int]:
    """Reads and writes of the backend that something takes."""
    before = len(world.done)
    act()
    done = world.done[before:]
    return sum(isinstance(e, READS) for e in done), sum(isinstance(e, WRITES) for e in done)


def restart(process: Process) -> Process:
    fresh = Process(process.world, holder=process.holder, issuer=process.issuer)
    fresh.restart()
    return fresh


def die_with_a_reply(process: Process) -> None:
    """The process ends when its next reply lies in the spool and nowhere else."""

    def replied(effect: effects.Effect[object]) -> bool:
        return isinstance(effect, effects.SpoolWrite) and effect.entry.reply is not None

    process.world.after = once(replied, crash)
    process.world.now = process.known.next_reconcile or 0
    with pytest.raises(Crashed):
        process.visit()
