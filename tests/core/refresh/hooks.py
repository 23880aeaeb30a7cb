"""Effects at which something happens to a process."""

import json
from collections.abc import Callable
from typing import Any

from csidriver.core.refresh import effects, grant_secret
from csidriver.core.refresh.effects import Effect


class Crashed(Exception):
    """The process ended and lost its state."""


def once(when: Callable[[Effect[Any]], bool], act: Callable[[], object]) -> Callable[..., None]:
    """A hook that acts at the first effect of interest."""
    waiting = [act]

    def hook(effect: Effect[Any]) -> None:
        if waiting and when(effect):
            waiting.pop()()

    return hook


def is_commit(effect: Effect[Any]) -> bool:
    """A patch of the grant that stores an outcome, not an intent."""
    if not isinstance(effect, effects.PatchSecret) or not effect.base.name.startswith("grant-"):
        return False
    state = effect.patch.data[grant_secret.STATE]
    assert state is not None
    intent = json.loads(state.reveal())["intent"]
    return intent is None or intent["recorded"]


def is_send(effect: Effect[Any]) -> bool:
    return isinstance(effect, effects.RequestToken)


def is_spooled_reply(effect: Effect[Any]) -> bool:
    return isinstance(effect, effects.SpoolWrite) and effect.entry.reply is not None


def is_mirror(effect: Effect[Any]) -> bool:
    return isinstance(effect, effects.PatchSecret) and effect.base.namespace == "physics"


def crash() -> None:
    raise Crashed
