"""Each invariant has a mutation of the production's code that the simulator must notice."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest

from csidriver.core.kubernetes.lease import ObservedLease
from csidriver.core.names import SourceRef
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.token_document import TokenDocument
from csidriver.core.oauth.token_response import Failure
from csidriver.core.refresh import (
    adopt,
    commit,
    companion_update,
    introspect,
    new_tokens,
    outcomes,
    reconcile,
    schedule,
    token_request,
)
from csidriver.core.refresh.effects import FindLogin
from csidriver.core.refresh.grant import Grant, SourceToken
from csidriver.core.refresh.sending import derived, repeatable
from csidriver.core.refresh.state import Effects, TokenState
from csidriver.core.status import Status
from csidriver.errors import StoreError
from csidriver.refresher.issuer_limits import IssuerLimits
from csidriver.refresher.state_cache import StateCache
from csidriver.refresher.workqueue import WorkQueue
from tests.simulator import many_tokens, replica
from tests.simulator.parameters import RunParameters
from tests.simulator.simulation import simulate

Patch = pytest.MonkeyPatch
Mutate = Callable[[Patch], None]


def put(owner: Any, name: str, value: Any) -> Mutate:
    return lambda patch: patch.setattr(owner, name, value)


def does(result: Any) -> Callable[..., Effects[Any]]:
    """Return a function without effects that returns this."""

    def run(*_: Any, **__: Any) -> Effects[Any]:
        yield from ()
        return result

    return run


def keeps_state(state: TokenState, *_: Any) -> Effects[TokenState]:
    yield from ()
    return state


def gives(place: Any, name: str, change: Callable[..., Any]) -> Mutate:
    """Let a function, where `place` sees it, return `change` of its result and arguments."""
    original = getattr(place, name)

    def altered(*args: Any) -> Any:
        return change(original(*args), *args)

    return put(place, name, altered)


def _repeat_at_once(patch: Patch) -> None:
    for module in (outcomes, introspect):
        patch.setattr(module, "last_attempt_at", lambda _, earliest: earliest)


def _drop_new_refresh_token(patch: Patch) -> None:
    original = new_tokens.after_success

    def succeed(grant: Grant, reply: TokenDocument, *rest: Any) -> Grant:
        return original(grant, reply.drop("refresh_token"), *rest)

    patch.setattr(token_request, "after_success", succeed)


def _give_up_commit(patch: Patch) -> None:
    def store(state: TokenState, before: Grant, after: Grant) -> Effects[TokenState]:
        try:
            return (yield from commit.commit(state, before, after))
        except StoreError:
            return state

    patch.setattr(token_request, "commit", store)


def _lost(after: Grant, _: Grant, failed: Failure, *__: Any) -> Grant:
    if failed.reason is not FailureReason.INVALID_GRANT:
        return after
    return replace(after, status=Status.LOST_ROTATION, next_refresh=None, intent=None)


def _is_ours(observed: ObservedLease, holder: str, _: float) -> bool:
    return observed.record is None or observed.record.holder in {"", holder}


def _forget_renewals(patch: Patch) -> None:
    def store(state: TokenState, before: Grant, after: Grant) -> Effects[TokenState]:
        return (yield from commit.commit(state, before, replace(after, login_generation=0)))

    patch.setattr(repeatable, "commit", store)


def _exchange_again(patch: Patch) -> None:
    def find_login(ref: SourceRef, name: str) -> Effects[Grant | None]:
        return (yield from FindLogin(ref, SourceRef(ref.namespace, name)))

    patch.setattr(derived, "find_login", find_login)
    patch.setattr(derived, "is_usable", lambda login, now: login.expires_at > now)


# The invariants of which one is violated, and the scenarios that show it; 15 to 18 need a run with
# the other grants.
MUTATIONS: dict[str, tuple[str, str, Mutate]] = {
    "repeats an unknown outcome at once": ("1", "answers", _repeat_at_once),
    "drops a new refresh token": ("3", "calm", _drop_new_refresh_token),
    "never judges a conflict": ("2", "freezes", put(commit, "may_rebase", lambda *_: True)),
    "gives up a commit": ("3", "backend", _give_up_commit),
    "ignores reseeds": ("4", "users", put(adopt, "compare_source", lambda *_: SourceToken.LIVE)),
    "rebuilds documents": ("5", "calm", put(TokenDocument, "merge", lambda _, reply, __: reply)),
    "despairs at the first refusal": (
        "6",
        "answers",
        gives(token_request, "after_failure", _lost),
    ),
    "ignores the intents of others": (
        "7",
        "backend freezes",
        put(token_request, "recover", keeps_state),
    ),
    "refreshes late": ("8", "calm", put(schedule, "lead_time", lambda *_: 0.1)),
    "admits everybody": (
        "9",
        "answers",
        put(IssuerLimits, "_opens_at", lambda _self, _issuer, now: now),
    ),
    "tries again in no time": ("9", "answers", put(schedule, "transient_delay", lambda *_: 0.1)),
    "never takes an intent over": ("11", "crashes", put(token_request, "_intent_age", does(0.0))),
    "waits for a dead replica's Lease for ever": (
        "11",
        "takeover",
        put(ObservedLease, "is_expired_for", _is_ours),
    ),
    "shows a generation ahead": (
        "13",
        "calm",
        gives(
            companion_update,
            "_desired_companion",
            lambda made, *_: made and replace(made, generation=made.generation + 1),
        ),
    ),
    "says Ready for ever": ("14", "answers", put(reconcile, "_with_status_due", keeps_state)),
}
OTHER_GRANTS: dict[str, tuple[str, str, Mutate]] = {
    "renews other grants late": (
        "15",
        "calm",
        gives(
            repeatable,
            "after_success",
            lambda after, *_: replace(after, next_refresh=after.expires_at + 1.0),
        ),
    ),
    "never hears of a login that was renewed": (
        "15",
        "calm",
        put(StateCache, "__init__", lambda cache, _, new=StateCache.__init__: new(cache)),
    ),
    "forgets which renewal it has seen": ("16", "calm", _forget_renewals),
    "repeats other requests in no time": (
        "9",
        "answers",
        gives(
            repeatable,
            "after_failure",
            lambda after, _grant, _failure, now, *_: replace(after, next_refresh=now + 0.1),
        ),
    ),
    "exchanges what was exchanged": ("17", "calm", _exchange_again),
    "gives more than the login": ("17", "calm", put(derived, "excess", lambda *_: "")),
    "keeps unasked refresh tokens": ("17", "calm", put(repeatable, "_OF_REFRESH_TOKEN", ())),
    "never looks for a login that is away": (
        "18",
        "users",
        put(derived, "is_deleted", does(result=False)),
    ),
}


def violated(scenario: str, seeds: Iterable[int], *, mixed: bool = False) -> Iterable[str]:
    for seed in seeds:
        found = simulate(seed, scenario, mixed=mixed).violations
        yield from (text.partition(":")[0] for text in found)


@pytest.mark.parametrize("name", MUTATIONS | OTHER_GRANTS)
def test_a_mutation_is_noticed(name: str, monkeypatch: Patch) -> None:
    number, scenarios, mutate = (MUTATIONS | OTHER_GRANTS)[name]
    mutate(monkeypatch)
    mixed = name in OTHER_GRANTS
    assert any(
        number in violated(scenario, range(40), mixed=mixed) for scenario in scenarios.split()
    )


def test_a_replica_that_never_resyncs_is_noticed_where_events_are_lost(monkeypatch: Patch) -> None:
    original = RunParameters.draw

    def draw(*args: Any, **kwargs: Any) -> RunParameters:
        return replace(
            original(*args, **kwargs), lost_event=1.0, user_actions=20, leader_election=True
        )

    monkeypatch.setattr(RunParameters, "draw", draw)
    assert not list(violated("backend", range(6)))
    monkeypatch.setattr(replica, "resync", lambda *_: [])
    assert "6" in violated("backend", range(6))


def test_a_dead_server_that_may_take_all_workers_is_noticed(monkeypatch: Patch) -> None:
    original_start, original_done = WorkQueue._start, WorkQueue.done

    def start(workqueue: WorkQueue[Any], key: Any, queue: Any) -> Any:
        original_start(workqueue, key, queue)
        queue.running = 0
        return key

    def done(workqueue: WorkQueue[Any], key: Any) -> None:
        original_done(workqueue, key)
        for queue in workqueue._queues.values():
            queue.running = 0

    monkeypatch.setattr(WorkQueue, "_start", start)
    monkeypatch.setattr(WorkQueue, "done", done)
    _, violations = many_tokens.serve_all()
    assert any(text.startswith("10") for text in violations)
