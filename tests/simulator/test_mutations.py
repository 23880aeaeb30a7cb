"""Each invariant has a mutation of the production's code that the simulator must notice.

| invariant | mutations |
|---|---|
| 1 | repeats an unknown outcome at once |
| 2 | never judges a conflict |
| 3 | drops a new refresh token; gives up a commit |
| 4 | ignores reseeds |
| 5 | rebuilds documents |
| 6 | despairs at the first refusal; looks at no list again |
| 7 | ignores the intents of others |
| 8 | refreshes late |
| 9 | admits everybody; tries again in no time |
| 10 | gives a dead server all workers |
| 11 | never takes an intent over; waits for a dead replica's Lease for ever |
| 12 | has no jitter |
| 13 | shows a generation ahead |
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest

from csidriver.core import backoff
from csidriver.core.kubernetes.lease import ObservedLease
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.token_document import TokenDocument
from csidriver.core.oauth.token_response import Failure
from csidriver.core.refresh import (
    adopt,
    commit,
    companion_update,
    outcomes,
    reconcile,
    recovery,
    schedule,
    token_request,
)
from csidriver.core.refresh.commit import Conflict
from csidriver.core.refresh.grant import Grant, SourceToken
from csidriver.core.refresh.state import Effects, TokenState
from csidriver.core.status import Status
from csidriver.refresher.issuer_limits import IssuerLimits
from csidriver.refresher.workqueue import WorkQueue
from tests.simulator import many_tokens, replica
from tests.simulator.plan import Plan
from tests.simulator.scenario import simulate

Patch = pytest.MonkeyPatch


def _ages(seconds: float) -> Callable[..., Effects[float]]:
    def age(*_: Any) -> Effects[float]:
        yield from ()
        return seconds

    return age


def _impatient(patch: Patch) -> None:
    patch.setattr(outcomes, "last_attempt_at", lambda _, soonest: soonest)


def _presents_spent(patch: Patch) -> None:
    honest = outcomes.after_success

    def succeed(grant: Grant, reply: TokenDocument, *rest: Any) -> Grant:
        return honest(grant, reply.drop("refresh_token"), *rest)

    patch.setattr(token_request, "after_success", succeed)


def _never_judges(patch: Patch) -> None:
    patch.setattr(commit, "classify_conflict", lambda *_: Conflict.REBASE)


def _gives_up(patch: Patch) -> None:
    patch.setattr(token_request, "commit", lambda known, _, after: commit.store_grant(known, after))


def _ignores_reseeds(patch: Patch) -> None:
    patch.setattr(adopt, "compare_source", lambda *_: SourceToken.LIVE)


def _rebuilds(patch: Patch) -> None:
    patch.setattr(TokenDocument, "merge", lambda _, reply, __: reply)


def _despairs(patch: Patch) -> None:
    honest = outcomes.after_failure

    def fail(grant: Grant, failed: Failure, *rest: Any) -> Grant:
        after = honest(grant, failed, *rest)
        if failed.reason is not FailureReason.INVALID_GRANT:
            return after
        return replace(after, status=Status.LOST_ROTATION, next_refresh=None, intent=None)

    patch.setattr(token_request, "after_failure", fail)


def _usurps(patch: Patch) -> None:
    def settle(known: TokenState, *_: Any) -> Effects[TokenState]:
        yield from ()
        return known

    patch.setattr(reconcile, "recover_intent", settle)


def _is_late(patch: Patch) -> None:
    patch.setattr(schedule, "lead_time", lambda *_: 0.1)


def _admits_all(patch: Patch) -> None:
    patch.setattr(IssuerLimits, "_start_at", lambda _self, _issuer, _asking, now, **_: now)


def _is_hasty(patch: Patch) -> None:
    patch.setattr(schedule, "retry_delay", lambda *_, **__: 0.1)


def _never_succeeds(patch: Patch) -> None:
    def is_free(seen: ObservedLease, holder: str, _: float) -> bool:
        return seen.record is None or seen.record.holder in {"", holder}

    patch.setattr(ObservedLease, "is_expired_for", is_free)


def _never_takes_over(patch: Patch) -> None:
    patch.setattr(recovery, "_intent_age", _ages(0.0))


def _runs_ahead(patch: Patch) -> None:
    honest = companion_update._desired_companion

    def companion(*args: Any) -> Any:
        told = honest(*args)
        return told and replace(told, generation=told.generation + 1)

    patch.setattr(companion_update, "_desired_companion", companion)


MUTATIONS: dict[str, tuple[str, str, Callable[[Patch], None]]] = {
    "repeats an unknown outcome at once": ("1", "answers", _impatient),
    "drops a new refresh token": ("3", "calm", _presents_spent),
    "never judges a conflict": ("2", "freezes", _never_judges),
    "gives up a commit": ("3", "backend", _gives_up),
    "ignores reseeds": ("4", "users", _ignores_reseeds),
    "rebuilds documents": ("5", "calm", _rebuilds),
    "despairs at the first refusal": ("6", "answers", _despairs),
    "ignores the intents of others": ("7", "backend freezes", _usurps),
    "refreshes late": ("8", "calm", _is_late),
    "admits everybody": ("9", "answers", _admits_all),
    "tries again in no time": ("9", "answers", _is_hasty),
    "never takes an intent over": ("11", "crashes", _never_takes_over),
    "waits for a dead replica's Lease for ever": ("11", "takeover", _never_succeeds),
    "shows a generation ahead": ("13", "calm", _runs_ahead),
}


def broken(kind: str, seeds: Iterable[int]) -> Iterable[str]:
    """The numbers of the invariants that do not hold."""
    for seed in seeds:
        yield from (text.partition(":")[0] for text in simulate(seed, kind).violations)


@pytest.mark.parametrize(("numbers", "kind", "mutate"), MUTATIONS.values(), ids=MUTATIONS)
def test_a_mutation_is_noticed(
    numbers: str, kind: str, mutate: Callable[[Patch], None], monkeypatch: Patch
) -> None:
    mutate(monkeypatch)
    found = (number for one in kind.split() for number in broken(one, range(40)))
    assert any(number in numbers.split() for number in found)


def test_who_looks_at_no_list_again_is_noticed_where_events_are_lost(monkeypatch: Patch) -> None:
    drawn = Plan.drawn
    monkeypatch.setattr(
        Plan, "drawn", lambda *of: replace(drawn(*of), deaf=1.0, user_acts=20, leased=True)
    )
    assert not list(broken("backend", range(6)))
    monkeypatch.setattr(replica, "resync", lambda *_: [])
    assert "6" in broken("backend", range(6))


def test_a_dead_server_that_may_take_all_workers_is_noticed(monkeypatch: Patch) -> None:
    hand_out, leave = WorkQueue._start, WorkQueue._release_worker

    def greedy(queue: WorkQueue[Any], lane: Any) -> Any:
        key = hand_out(queue, lane)
        lane.running = 0
        return key

    def forgetful(queue: WorkQueue[Any], key: Any) -> None:
        leave(queue, key)
        for lane in queue._queues.values():
            lane.running = 0

    monkeypatch.setattr(WorkQueue, "_start", greedy)
    monkeypatch.setattr(WorkQueue, "_release_worker", forgetful)
    _, violations = many_tokens.served()
    assert any(text.startswith("10") for text in violations)


def test_a_herd_without_jitter_is_noticed(monkeypatch: Patch) -> None:
    monkeypatch.setattr(backoff, "stable_jitter", lambda *_: 0.5)
    assert any(text.startswith("12") for text in many_tokens.spread())
