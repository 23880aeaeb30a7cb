"""How refreshing fails in other software, and does not here: docs/failure-modes.md.

One scenario per failure mode that the rules decide; the details have tests of their own.
"""

import ast
import itertools
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from csidriver.core import annotations
from csidriver.core.names import SourceRef
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.token_response import Failure
from csidriver.core.refresh import effects
from csidriver.core.refresh.effects import Effect, RequestToken, SpoolWrite
from csidriver.core.refresh.schedule import lead_time
from csidriver.core.status import Status
from csidriver.errors import StoreConflict, StoreUnavailable
from tests.core.refresh.assertions import (
    GRANT,
    LIFE,
    companion,
    crash,
    document,
    fail_next,
    grant,
    is_commit,
    live,
    mirrored,
    note,
    once,
    presented_twice,
    reasons,
    source,
)
from tests.core.refresh.world import (
    ISSUER,
    LOST_AFTER,
    START,
    Crashed,
    Process,
    World,
    answer,
)


def test_f01_two_processes_present_a_token_once(world: World) -> None:
    first, second = Process(world), Process(world, holder="pod-2")
    world.before = once(lambda e: isinstance(e, RequestToken), second.visit)
    first.visit()
    second.work(300)
    assert world.server.tokens() == ["alice-0"]
    assert live(world) == mirrored(world) == "alice-1"


def test_f02_who_was_frozen_after_announcing_does_not_send(process: Process) -> None:
    world = process.world

    def freeze() -> None:
        world.now += 61
        Process(world, holder="pod-2").visit()

    world.before = once(lambda e: isinstance(e, SpoolWrite), freeze)
    process.visit()
    assert world.server.presented == []
    assert grant(world).status is Status.UNCERTAIN


def test_f03_two_processes_that_both_believe_to_lead_do_no_harm(world: World) -> None:
    both = [Process(world), Process(world, holder="pod-2")]
    for process in itertools.islice(itertools.cycle(both), 400):
        process.hear()
        process.visit()
        world.now += 120
    assert presented_twice(world) == []
    assert live(world) == world.server.families["alice"][-1]
    assert companion(world).status is Status.READY


def test_f04_a_reply_that_cannot_be_stored_is_kept_and_stored_later(running: Process) -> None:
    world, left = running.world, 50

    def before(effect: Effect[Any]) -> None:
        nonlocal left
        if left and is_commit(effect):
            left -= 1
            raise StoreUnavailable("down")

    world.before = before
    running.work(LIFE)
    assert live(world) == "alice-2"
    assert world.server.tokens() == ["alice-0", "alice-1"]


def test_f05_while_the_store_is_down_nothing_is_spent(running: Process) -> None:
    world = running.world
    fail_next(world, effects.PatchSecret, StoreUnavailable("down"), on="grant-")
    with pytest.raises(StoreUnavailable):
        running.work(LIFE)
    assert world.server.tokens() == ["alice-0"]
    running.work(1)
    assert live(world) == "alice-2"


def test_f06_an_unrelated_write_does_not_cost_the_reply(running: Process) -> None:
    world = running.world

    def label() -> None:
        world._store(world.secrets[GRANT])
        world._store(source(world))

    world.before = once(is_commit, label)
    running.work(LIFE)
    assert live(world) == mirrored(world) == "alice-2"
    assert world.server.tokens() == ["alice-0", "alice-1"]


def test_f07_a_reply_survives_a_crash_before_it_is_stored(running: Process) -> None:
    world = running.world
    world.after = once(lambda e: isinstance(e, SpoolWrite) and e.entry.reply is not None, crash)
    with pytest.raises(Crashed):
        running.work(LIFE)
    fresh = Process(world)
    fresh.restart()
    fresh.visit()
    assert live(world) == mirrored(world) == "alice-2"
    assert world.server.tokens() == ["alice-0", "alice-1"]


def test_f08_stopping_during_an_exchange_does_not_discard_it(running: Process) -> None:
    world = running.world

    def stop() -> None:
        world.may_send = False

    world.before = once(lambda e: isinstance(e, RequestToken), stop)
    running.work(LIFE)
    assert live(world) == mirrored(world) == "alice-2"
    assert companion(world).generation == grant(world).generation


@pytest.mark.parametrize(
    "rest",
    [{"token_type": "DPoP"}, {"access_token": "a b"}, {"scope": ""}, {"id_token": "no JWT"}],
    ids=lambda rest: next(iter(rest)),
)
def test_f09_what_is_wrong_with_the_rest_does_not_cost_the_refresh_token(
    running: Process, rest: dict[str, Any]
) -> None:
    reply = {"refresh_token": "x", "access_token": "a", "expires_in": LIFE} | rest
    running.world.server.script.append(answer(200, reply))
    running.work(LIFE - 60)
    assert live(running.world) == mirrored(running.world) == "x"


@pytest.mark.parametrize("said", [{}, {"refresh_token": ""}, {"refresh_token": None}], ids=str)
def test_f10_a_reply_without_a_refresh_token_keeps_the_old_one(
    running: Process, said: dict[str, Any]
) -> None:
    world = running.world
    world.server.script.append(answer(200, {"access_token": "b", "expires_in": LIFE} | said))
    running.work(LIFE)
    assert live(world) == mirrored(world) == "alice-1"
    assert companion(world).status is Status.READY


def test_f11_every_new_refresh_token_is_stored_and_used_next(running: Process) -> None:
    world = running.world
    running.work(10 * LIFE)
    tokens = world.server.tokens()
    assert tokens == [f"alice-{number}" for number in range(len(tokens))]
    assert live(world) == mirrored(world) == f"alice-{len(tokens)}"


def test_f12_a_refusal_looks_for_a_newer_token_before_giving_up(running: Process) -> None:
    world = running.world
    world.apply(document(world.server.login("bob")))
    world.server.families.pop("alice")
    running.work(LIFE)
    assert live(world) == "bob-1"
    assert companion(world).status is Status.READY


def test_f13_a_lost_comparison_is_looked_into_and_retried_without_end_or_haste(
    running: Process,
) -> None:
    world = running.world
    fail_next(world, effects.PatchSecret, StoreConflict("moved"), times=30, on="grant-")
    running.work(LIFE)
    assert live(world) == "alice-2"
    assert world.server.tokens() == ["alice-0", "alice-1"]


def test_f14_a_lost_reply_is_asked_for_again_while_the_server_still_has_it(
    running: Process,
) -> None:
    world, running.issuer = running.world, replace(ISSUER, reuse=30.0)
    world.server.window = 30
    world.server.script.append(LOST_AFTER)
    running.work(LIFE)
    (_, first, second) = (at for at, _ in world.server.presented)
    assert second - first == 1
    assert live(world) == "alice-2"


def test_f15_a_grace_period_is_used_for_the_token_in_hand_alone(running: Process) -> None:
    """A server may hand the old token out again, and may take tokens of long ago."""
    world = running.world
    same = {"refresh_token": "alice-0", "access_token": "b", "expires_in": LIFE}
    world.server.script.append(answer(200, same))
    running.work(LIFE - lead_time(LIFE))
    assert live(world) == "alice-0"
    world.apply(document("alice-1"))
    running.visit(event=True)
    running.work(LIFE)
    assert world.server.tokens()[:3] == ["alice-0", "alice-1", "alice-0"]


def test_f16_a_false_invalid_grant_is_cleared(running: Process) -> None:
    world = running.world
    world.server.script.append(answer(400, {"error": "invalid_grant"}))
    running.work(LIFE)
    assert companion(world).status is Status.READY
    assert companion(world).token is not None


@pytest.mark.parametrize("said", [0, -1, 1, None, "300", 1e12], ids=str)
def test_f17_no_lifetime_makes_a_hot_loop_or_none_at_all(running: Process, said: Any) -> None:
    world = running.world
    world.server.script += [answer(200, {"access_token": "a", "expires_in": said})] * 2000
    world.now = running.known.next_reconcile or 0
    running.visit()
    before = len(world.server.presented)
    running.work(300)
    assert 1 <= len(world.server.presented) - before <= 301


def test_f18_a_token_that_always_fails_takes_bounded_visits(running: Process) -> None:
    world = running.world
    world.server.script += [Failure(FailureReason.SERVER_ERROR)] * 1000
    visits = len([e for e in world.done if isinstance(e, effects.Now)])
    running.work(86400)
    assert len([e for e in world.done if isinstance(e, effects.Now)]) - visits < 100


def test_f19_a_restored_old_seed_neither_wins_nor_is_presented(running: Process) -> None:
    world = running.world
    for _ in range(5):
        running.work(LIFE)
        world.apply(document("alice-0"))
        running.visit(event=True)
        assert note(world, annotations.WARNING) == "OldSeedRestored"
    assert world.server.tokens().count("alice-0") == 1
    assert live(world) == world.server.families["alice"][-1]


def test_f20_several_attempts_fit_between_the_first_and_expiry(running: Process) -> None:
    world = running.world
    world.server.script += [Failure(FailureReason.UNREACHABLE)] * 3
    running.work(LIFE)
    assert len(world.server.presented) == 5
    assert world.server.presented[-1][0] < START + LIFE - 60
    assert companion(world).status is Status.READY


def test_f21_a_refresh_token_is_used_before_it_dies_of_idleness(running: Process) -> None:
    world = running.world
    world.server.lifetime = 30 * 86400.0
    running.work(30 * 86400)
    times = [at for at, _ in world.server.presented]
    assert max(b - a for a, b in itertools.pairwise(times)) <= 7.5 * 86400


def test_f22_one_login_in_two_secrets_is_used_in_one(running: Process) -> None:
    world, copy = running.world, SourceRef("physics", "copy")
    world.now += 1
    world.apply(source(world).data["oauth"].reveal(), ref=copy)
    second = Process(world, ref=copy)
    second.visit()
    running.work(3 * LIFE)
    second.work(60)
    assert "DuplicateGrant" in reasons(world)
    assert live(world) == world.server.families["alice"][-1]


DOCUMENT = Path(__file__).parents[3] / "docs" / "failure-modes.md"


def claims() -> list[tuple[str, str]]:
    return re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", DOCUMENT.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("file", "name"), claims(), ids=lambda part: part.rpartition("/")[2])
def test_what_the_document_names_exists(file: str, name: str) -> None:
    tree = ast.parse((DOCUMENT.parents[1] / file).read_text(encoding="utf-8"))
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    assert name in {function.name for function in functions}


def test_the_document_has_a_row_and_a_test_of_its_name_for_every_mode() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for number in range(1, 23):
        row = re.search(rf"^\| F{number} \|.*$", text, re.MULTILINE)
        assert row is not None
        assert f"::test_f{number:02}_" in row[0]
