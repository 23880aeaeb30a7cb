"""Checks of a virtual cluster, and faults in it."""

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
from tests.core.refresh.virtual_cluster import REF, Crashed, Process, VirtualCluster

GRANT = (names.DRIVER_NAMESPACE, REF.grant)
COMPANION = (names.TOKENS_NAMESPACE, REF.companion)
SOURCE = (REF.namespace, REF.name)
LIFE = 3600.0


def document(token: str, **more: Any) -> str:
    return json.dumps({"access_token": "opaque", "refresh_token": token, "extra": 1.5} | more)


def source(cluster: VirtualCluster) -> Secret:
    return cluster.secrets[SOURCE]


def note(cluster: VirtualCluster, key: str) -> str:
    return source(cluster).annotations.get(key, "")


def mirrored(cluster: VirtualCluster) -> str:
    token = TokenDocument.parse(source(cluster).data["oauth"])[0].refresh_token
    return "" if token is None else token.reveal()


def grant(cluster: VirtualCluster) -> Grant:
    return grant_secret.from_secret(cluster.secrets[GRANT])


def delete(cluster: VirtualCluster, key: tuple[str, str]) -> None:
    del cluster.secrets[key]


def live(cluster: VirtualCluster) -> str:
    token = grant(cluster).document.refresh_token
    return "" if token is None else token.reveal()


def companion(cluster: VirtualCluster) -> Companion:
    return Companion.from_secret(cluster.secrets[COMPANION])


def reasons(cluster: VirtualCluster) -> list[str]:
    return [e.reason for e in cluster.done if isinstance(e, effects.EmitEvent)]


def presented_twice(cluster: VirtualCluster) -> list[str]:
    """Tokens that were presented after the server had answered for them."""
    tokens = cluster.server.tokens()
    return [t for t in set(tokens) if tokens.count(t) > 1 and t in cluster.server.answered]


def fail_next(
    cluster: VirtualCluster,
    kind: type[Effect[Any]],
    error: DriverError,
    *,
    times: int = 1,
    on: str = "",
) -> None:
    """The next effects of a kind, on an object whose name begins so, fail without happening."""
    left = times

    def before(effect: Effect[Any]) -> None:
        nonlocal left
        name = effect.base.name if isinstance(effect, PatchSecret) else ""
        if left > 0 and isinstance(effect, kind) and name.startswith(on):
            left -= 1
            raise error

    cluster.before = before


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


def any_sent(cluster: VirtualCluster) -> bool:
    return any(isinstance(e, RequestToken) for e in cluster.done)


def count(cluster: VirtualCluster, kind: type[Effect[Any]]) -> int:
    return sum(isinstance(e, kind) for e in cluster.done)


READS = (effects.GetSecret,)


WRITES = (effects.CreateSecret, effects.PatchSecret, effects.DeleteSecret)


def cost(cluster: VirtualCluster, act: Callable[[], object]) -> tuple[int, int]:
    """Reads and writes of the backend that something takes."""
    before = len(cluster.done)
    act()
    done = cluster.done[before:]
    return sum(isinstance(e, READS) for e in done), sum(isinstance(e, WRITES) for e in done)


def restart(process: Process) -> Process:
    fresh = Process(process.cluster, holder=process.holder, issuer=process.issuer)
    fresh.restart()
    return fresh


def die_with_a_reply(process: Process) -> None:
    """The process ends when its next reply lies in the spool and nowhere else."""

    def replied(effect: effects.Effect[object]) -> bool:
        return isinstance(effect, effects.SpoolWrite) and effect.entry.reply is not None

    process.cluster.after = once(replied, crash)
    process.cluster.now = process.state.next_reconcile or 0
    with pytest.raises(Crashed):
        process.reconcile()
