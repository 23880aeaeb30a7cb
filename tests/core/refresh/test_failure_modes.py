"""How refreshing fails in other software, and does not here: docs/evidence/failure-modes.md.

One scenario per failure mode that the rules decide; the details have tests of their own.
"""

import ast
import contextlib
import itertools
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from csidriver.core.names import SourceRef
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.token_response import Failure
from csidriver.core.refresh import effects
from csidriver.core.refresh.effects import Effect, SpoolWrite
from csidriver.core.refresh.schedule import lead_time
from csidriver.core.status import Status
from csidriver.errors import StoreConflict, StoreUnavailable
from tests.core.refresh.hooks import is_commit, is_send, is_spooled_reply, once
from tests.core.refresh.virtual_cluster import (
    GRANT,
    ISSUER,
    LIFE,
    Process,
    VirtualCluster,
    document,
)
from tests.core.refresh.virtual_server import LOST_AFTER, START, answer


def test_f01_two_processes_present_a_token_once(cluster: VirtualCluster) -> None:
    first, second = Process(cluster), Process(cluster, holder="pod-2")
    cluster.before = once(is_send, second.reconcile)
    first.reconcile()
    second.run_for(300)
    assert cluster.server.tokens() == ["alice-0"]
    assert cluster.live() == cluster.mirrored() == "alice-1"


def test_f02_who_was_frozen_after_announcing_does_not_send(process: Process) -> None:
    cluster = process.cluster

    def freeze() -> None:
        cluster.now += 61
        Process(cluster, holder="pod-2").reconcile()

    cluster.before = once(lambda e: isinstance(e, SpoolWrite), freeze)
    process.reconcile()
    assert cluster.server.presented == []
    assert cluster.grant().status is Status.UNCERTAIN


def test_f03_two_processes_that_both_believe_to_lead_do_no_harm(cluster: VirtualCluster) -> None:
    both = [Process(cluster), Process(cluster, holder="pod-2")]
    for process in itertools.islice(itertools.cycle(both), 400):
        process.observe()
        process.reconcile()
        cluster.now += 120
    assert cluster.presented_twice() == []
    assert cluster.live() == cluster.server.families["alice"][-1]
    assert cluster.companion().status is Status.READY


def test_f04_a_reply_that_cannot_be_stored_is_kept_and_stored_later(running: Process) -> None:
    cluster, left = running.cluster, 50

    def before(effect: Effect[Any]) -> None:
        nonlocal left
        if left and is_commit(effect):
            left -= 1
            raise StoreUnavailable("down")

    cluster.before = before
    while left:
        with contextlib.suppress(StoreUnavailable):
            running.run_for(LIFE)
    running.reconcile()
    assert cluster.live() == "alice-2"
    assert cluster.server.tokens() == ["alice-0", "alice-1"]


def test_f05_while_the_store_is_down_nothing_is_spent(running: Process) -> None:
    cluster = running.cluster
    cluster.fail_next(effects.PatchSecret, StoreUnavailable("down"), on="grant-")
    with pytest.raises(StoreUnavailable):
        running.run_for(LIFE)
    assert cluster.server.tokens() == ["alice-0"]
    running.run_for(1)
    assert cluster.live() == "alice-2"


def test_f06_an_unrelated_write_does_not_cost_the_reply(running: Process) -> None:
    cluster = running.cluster

    def label() -> None:
        cluster._store(cluster.secrets[GRANT])
        cluster._store(cluster.source())

    cluster.before = once(is_commit, label)
    running.run_for(LIFE)
    assert cluster.live() == cluster.mirrored() == "alice-2"
    assert cluster.server.tokens() == ["alice-0", "alice-1"]


def test_f07_a_reply_survives_a_crash_before_it_is_stored(running: Process) -> None:
    cluster = running.cluster
    running.die_after(is_spooled_reply)
    fresh = Process(cluster)
    fresh.restart()
    fresh.reconcile()
    assert cluster.live() == cluster.mirrored() == "alice-2"
    assert cluster.server.tokens() == ["alice-0", "alice-1"]


def test_f08_stopping_during_an_exchange_does_not_discard_it(running: Process) -> None:
    cluster = running.cluster

    def stop() -> None:
        cluster.may_send = False

    cluster.before = once(is_send, stop)
    running.run_for(LIFE)
    assert cluster.live() == cluster.mirrored() == "alice-2"
    assert cluster.companion().generation == cluster.grant().generation


@pytest.mark.parametrize(
    "rest",
    [{"token_type": "DPoP"}, {"access_token": "a b"}, {"scope": ""}, {"id_token": "no JWT"}],
    ids=lambda rest: next(iter(rest)),
)
def test_f09_what_is_wrong_with_the_rest_does_not_cost_the_refresh_token(
    running: Process, rest: dict[str, Any]
) -> None:
    reply = {"refresh_token": "x", "access_token": "a", "expires_in": LIFE} | rest
    running.cluster.server.script.append(answer(200, reply))
    running.run_for(LIFE - 60)
    assert running.cluster.live() == running.cluster.mirrored() == "x"


@pytest.mark.parametrize("said", [{}, {"refresh_token": ""}, {"refresh_token": None}], ids=str)
def test_f10_without_a_new_refresh_token_the_old_one_stays(
    running: Process, said: dict[str, Any]
) -> None:
    cluster = running.cluster
    cluster.server.script.append(answer(200, {"access_token": "b", "expires_in": LIFE} | said))
    running.run_for(LIFE)
    assert cluster.live() == cluster.mirrored() == "alice-1"
    assert cluster.companion().status is Status.READY


def test_f11_every_new_refresh_token_is_stored_and_used_next(running: Process) -> None:
    cluster = running.cluster
    running.run_for(10 * LIFE)
    tokens = cluster.server.tokens()
    assert tokens == [f"alice-{number}" for number in range(len(tokens))]
    assert cluster.live() == cluster.mirrored() == f"alice-{len(tokens)}"


def test_f12_a_refusal_looks_for_a_newer_token_before_giving_up(running: Process) -> None:
    cluster = running.cluster
    cluster.apply(document(cluster.server.login("bob")))
    cluster.server.families.pop("alice")
    running.run_for(LIFE)
    assert cluster.live() == "bob-1"
    assert cluster.companion().status is Status.READY


def test_f13_a_lost_comparison_is_retried_without_haste(running: Process) -> None:
    cluster = running.cluster
    cluster.fail_next(effects.PatchSecret, StoreConflict("moved"), times=30, on="grant-")
    running.run_for(LIFE)
    assert cluster.live() == "alice-2"
    assert cluster.server.tokens() == ["alice-0", "alice-1"]


def test_f14_a_lost_reply_is_asked_for_again_in_the_window(running: Process) -> None:
    cluster, running.issuer = running.cluster, replace(ISSUER, reuse=30.0)
    cluster.server.window = 30
    cluster.server.script.append(LOST_AFTER)
    running.run_for(LIFE)
    (_, first, second) = (at for at, _ in cluster.server.presented)
    assert second - first == 1
    assert cluster.live() == "alice-2"


def test_f15_a_grace_period_is_used_for_the_token_in_hand_alone(running: Process) -> None:
    """A server may hand the old token out again, and may take tokens of long ago."""
    cluster = running.cluster
    same = {"refresh_token": "alice-0", "access_token": "b", "expires_in": LIFE}
    cluster.server.script.append(answer(200, same))
    running.run_for(LIFE - lead_time(LIFE))
    assert cluster.live() == "alice-0"
    running.edit(document("alice-1"))
    running.run_for(LIFE)
    assert cluster.server.tokens()[:3] == ["alice-0", "alice-1", "alice-0"]


def test_f16_a_false_invalid_grant_is_cleared(running: Process) -> None:
    cluster = running.cluster
    cluster.server.script.append(answer(400, {"error": "invalid_grant"}))
    running.run_for(LIFE)
    assert cluster.companion().status is Status.READY
    assert cluster.companion().token is not None


@pytest.mark.parametrize("said", [0, -1, 1, None, "300", 1e12], ids=str)
def test_f17_no_lifetime_makes_a_hot_loop_or_none_at_all(running: Process, said: Any) -> None:
    cluster = running.cluster
    cluster.server.script += [answer(200, {"access_token": "a", "expires_in": said})] * 2000
    cluster.now = running.state.next_reconcile or 0
    running.reconcile()
    before = len(cluster.server.presented)
    running.run_for(300)
    assert 1 <= len(cluster.server.presented) - before <= 301


def test_f18_a_token_that_always_fails_takes_bounded_visits(running: Process) -> None:
    cluster = running.cluster
    cluster.server.script += [Failure(FailureReason.SERVER_ERROR)] * 1000
    visits = len([e for e in cluster.done if isinstance(e, effects.Now)])
    running.run_for(86400)
    assert len([e for e in cluster.done if isinstance(e, effects.Now)]) - visits < 100


def test_f19_a_restored_old_seed_neither_wins_nor_is_presented(running: Process) -> None:
    cluster = running.cluster
    for _ in range(5):
        running.run_for(LIFE)
        running.edit(document("alice-0"))
        assert cluster.warning() == "OldSeedRestored"
    assert cluster.server.tokens().count("alice-0") == 1
    assert cluster.live() == cluster.server.families["alice"][-1]


def test_f20_several_attempts_fit_between_the_first_and_expiry(running: Process) -> None:
    cluster = running.cluster
    cluster.server.script += [Failure(FailureReason.UNREACHABLE)] * 3
    running.run_for(LIFE)
    assert len(cluster.server.presented) == 5
    assert cluster.server.presented[-1][0] < START + LIFE - 60
    assert cluster.companion().status is Status.READY


def test_f21_a_refresh_token_is_used_before_it_dies_of_idleness(running: Process) -> None:
    cluster = running.cluster
    cluster.server.lifetime = 30 * 86400.0
    running.run_for(30 * 86400)
    times = [at for at, _ in cluster.server.presented]
    assert max(b - a for a, b in itertools.pairwise(times)) <= 7.5 * 86400


def test_f22_one_login_in_two_secrets_is_used_in_one(running: Process) -> None:
    cluster, copy = running.cluster, SourceRef("physics", "copy")
    cluster.now += 1
    cluster.apply(cluster.source().data["oauth"].reveal(), ref=copy)
    second = Process(cluster, ref=copy)
    second.reconcile()
    running.run_for(3 * LIFE)
    second.run_for(60)
    assert "DuplicateGrant" in cluster.reasons()
    assert cluster.live() == cluster.server.families["alice"][-1]


DOCUMENT = Path(__file__).parents[3] / "docs/evidence/failure-modes.md"


def claims() -> list[tuple[str, str]]:
    return re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", DOCUMENT.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("file", "name"), claims(), ids=lambda part: part.rpartition("/")[2])
def test_what_the_document_names_exists(file: str, name: str) -> None:
    tree = ast.parse((DOCUMENT.parents[2] / file).read_text(encoding="utf-8"))
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    assert name in {function.name for function in functions}


def test_the_document_has_a_row_and_a_test_of_its_name_for_every_mode() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for number in range(1, 23):
        row = re.search(rf"^\| F{number} \|.*$", text, re.MULTILINE)
        assert row is not None
        assert f"::test_f{number:02}_" in row[0]
