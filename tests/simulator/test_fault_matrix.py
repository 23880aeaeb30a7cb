"""A part of the fault matrix, and the mutations that it must notice."""

import re
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from csidriver.core.refresh import introspect, reconcile, schedule, transitions
from csidriver.core.refresh.state import Effects, TokenState
from csidriver.core.refresh.transitions import (
    NextIntent,
    Outcome,
    RetryPolicy,
    Sent,
    Transition,
)
from csidriver.core.status import Status
from tests.simulator import gateway
from tests.simulator.fault_matrix import ALL_CELLS, Cell, Moment, Run, run_cell
from tests.simulator.fault_table import DOCUMENT, POLICIES, SECONDS
from tests.simulator.gateway import Fault

# Every so many cells; a prime, so that each value of each dimension has its turn.
STEP = 89
TRANSITIONS = cast("dict[tuple[Sent, Outcome], Transition]", transitions.TRANSITIONS)
Patch = pytest.MonkeyPatch


def test_the_matrix_has_all_combinations() -> None:
    assert len(set(ALL_CELLS)) == 10 * 3 * 3 * 2 * 3 * 2 * 4


@pytest.mark.parametrize("number", range(0, len(ALL_CELLS), STEP))
def test_no_fault_costs_a_login_or_makes_a_status_lie(number: int) -> None:
    result = run_cell(number)
    assert result.violations == (), f"{result.cell}: {result.trace[-40:]}"


def test_the_document_has_a_row_for_each_fault_and_length() -> None:
    rows = [line for line in DOCUMENT.read_text("utf-8").splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + len(Fault) * len(SECONDS)
    assert {row.count("|") for row in rows} == {3 + 2 * len(POLICIES)}


def _wait_long(patch: Patch) -> None:
    patch.setattr(schedule, "MAX_DELAY_EXPIRED", 3600.0)


def _present_for_ever(patch: Patch) -> None:
    """Repeat an unknown outcome on a server that seems to live."""
    patch.setattr(gateway, "answers_probe", lambda *_: True)
    retry = Transition(NextIntent.RECORDED, Status.UNCERTAIN, RetryPolicy.TRANSIENT)
    for sent in (Sent.FIRST, Sent.REPEAT):
        patch.setitem(TRANSITIONS, (sent, Outcome.UNKNOWN), retry)
    patch.setattr(introspect, "sent", lambda *_: Sent.FIRST)


def _despair(patch: Patch) -> None:
    lost = Transition(NextIntent.NONE, Status.LOST_ROTATION, RetryPolicy.STOP)
    patch.setitem(TRANSITIONS, (Sent.FIRST, Outcome.UNKNOWN), lost)


def _hurry(patch: Patch) -> None:
    patch.setattr(schedule, "transient_delay", lambda *_: 0.5)


def _say_ready(patch: Patch) -> None:
    def with_status_due(state: TokenState, *_: Any) -> Effects[TokenState]:
        yield from ()
        return state

    patch.setattr(reconcile, "_with_status_due", with_status_due)


def cells(policy: str, moment: Moment) -> Iterator[Cell]:
    """Yield runs with a fault that leaves outcomes unknown."""
    for seconds, tokens in ((60.0, 1), (60.0, 4), (300.0, 1)):
        yield Cell(Fault.UNAVAILABLE, seconds, policy, False, 60.0, tokens, moment)


@pytest.mark.parametrize(
    ("text", "policy", "moment", "mutate"),
    [
        ("Ready .* after the server is back", "unlimited", Moment.EXPIRY, _wait_long),
        ("is presented [3-9]", "strict", Moment.EXPIRY, _present_for_ever),
        ("is lost, but", "strict", Moment.BEFORE_DUE, _despair),
        ("is presented again after", "unlimited", Moment.BEFORE_DUE, _hurry),
        ("14:", "unlimited", Moment.BEFORE_DUE, _say_ready),
    ],
)
def test_a_broken_promise_is_noticed(
    text: str,
    policy: str,
    moment: Moment,
    mutate: Callable[[Patch], None],
    monkeypatch: Patch,
) -> None:
    mutate(monkeypatch)
    found = [
        violation
        for cell in cells(policy, moment)
        for violation in Run(1, cell).result().violations
    ]
    assert any(re.search(text, violation) for violation in found), found


def test_a_fault_that_meets_nothing_is_noticed(monkeypatch: Patch) -> None:
    original = Run._arm

    def arm(run: Run) -> float:
        run.replica.freeze(3600.0)
        return original(run)

    monkeypatch.setattr(Run, "_arm", arm)
    cell = next(cells("strict", Moment.BEFORE_DUE))
    assert "the fault meets nothing" in Run(1, cell).result().violations
