"""How refreshing fails in other software, and does not here: docs/evidence/failure-modes.md.

The scenarios of modes of which no test of a module tells.
"""

import itertools
import re
from pathlib import Path
from typing import Any

import pytest

from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.token_response import Failure
from csidriver.core.refresh import effects
from csidriver.core.refresh.schedule import lead_time
from csidriver.core.status import Status
from csidriver.errors import StoreConflict
from tests.core.refresh.hooks import is_commit, is_send, once
from tests.core.refresh.virtual_cluster import GRANT, LIFE, Process, VirtualCluster, document
from tests.core.refresh.virtual_server import START, answer


def test_f03_two_processes_that_both_believe_to_lead_do_no_harm(cluster: VirtualCluster) -> None:
    both = [Process(cluster), Process(cluster, holder="pod-2")]
    for process in itertools.islice(itertools.cycle(both), 400):
        process.observe()
        process.reconcile()
        cluster.now += 120
    assert cluster.presented_twice() == []
    assert cluster.live() == cluster.server.families["alice"][-1]
    assert cluster.companion().status is Status.READY


def test_f06_an_unrelated_write_does_not_cost_the_reply(running: Process) -> None:
    cluster = running.cluster

    def label() -> None:
        cluster.store(cluster.secrets[GRANT])
        cluster.store(cluster.source())

    cluster.before = once(is_commit, label)
    running.run_for(LIFE)
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


@pytest.mark.parametrize("said", [{}, {"refresh_token": ""}, {"refresh_token": None}], ids=str)
def test_f10_without_a_new_refresh_token_the_old_one_stays(
    running: Process, said: dict[str, Any]
) -> None:
    cluster = running.cluster
    cluster.server.script.append(answer(200, {"access_token": "b", "expires_in": LIFE} | said))
    running.run_for(LIFE)
    assert cluster.live() == cluster.mirrored() == "alice-1"
    assert cluster.companion().status is Status.READY


def test_f12_a_refusal_looks_for_a_newer_token_before_giving_up(running: Process) -> None:
    cluster = running.cluster
    cluster.apply(document(cluster.server.login("bob")))
    cluster.server.families.pop("alice")
    running.run_for(LIFE)
    assert cluster.live() == "bob-1"
    assert cluster.companion().status is Status.READY


def test_f13_a_lost_comparison_is_retried_without_haste(running: Process) -> None:
    running.cluster.fail_next(effects.PatchSecret, StoreConflict("moved"), times=30, on="grant-")
    running.run_for(LIFE)
    assert running.cluster.live() == "alice-2"
    assert running.cluster.server.tokens() == ["alice-0", "alice-1"]


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
    running.cluster.server.script.append(answer(400, {"error": "invalid_grant"}))
    running.run_for(LIFE)
    assert running.cluster.companion().status is Status.READY
    assert running.cluster.companion().token is not None


def test_f20_several_attempts_fit_between_the_first_and_expiry(running: Process) -> None:
    cluster = running.cluster
    cluster.server.script += [Failure(FailureReason.UNREACHABLE)] * 3
    running.run_for(LIFE)
    assert len(cluster.server.presented) == 5
    assert cluster.server.presented[-1][0] < START + LIFE - 60
    assert cluster.companion().status is Status.READY


DOCUMENT = Path(__file__).parents[3] / "docs/evidence/failure-modes.md"


def test_the_document_has_a_row_with_a_test_for_every_mode() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    rows = re.findall(r"^\| F(\d+) \|.*`tests/[\w/]+\.py::test_\w+`.*$", text, re.MULTILINE)
    assert [int(number) for number in rows] == list(range(1, 23))
