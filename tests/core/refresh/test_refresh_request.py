"""A user who asks for a refresh with the annotation `refresh-requested-at` (docs/protocol.md 5)."""

import itertools

import pytest

from csidriver.core.annotations import REFRESH_REQUESTED_AT
from csidriver.core.kubernetes.timestamp import format_rfc3339
from tests.core.refresh.virtual_cluster import LIFE, Process

INVALID = "InvalidRefreshRequest"


def ask(process: Process, value: str = "", *, after: float = 60.0) -> None:
    """Reconcile that the user asks, by default with the time of day."""
    process.cluster.now += after
    value = value or format_rfc3339(process.cluster.now)
    process.cluster.annotate(REFRESH_REQUESTED_AT, value)
    process.reconcile(event=True)


def test_a_new_value_refreshes_at_once_and_only_once(running: Process) -> None:
    ask(running)
    assert running.cluster.server.tokens() == ["alice-0", "alice-1"]
    assert running.cluster.live() == running.cluster.mirrored() == "alice-2"
    for process in (running, running.restarted(), Process(running.cluster)):
        process.reconcile(event=True)
    running.run_for(LIFE / 2)
    assert running.cluster.server.tokens() == ["alice-0", "alice-1"]
    ask(running)
    assert running.cluster.live() == "alice-3"


def test_requests_in_a_loop_cause_a_send_every_ten_seconds_and_few_writes(running: Process) -> None:
    def loop() -> None:
        for number in range(600):
            ask(running, f"2027-01-01T00:00:00.{number:03}Z", after=0.1)

    _, writes = running.cluster.cost(loop)
    sent = [at for at, _ in running.cluster.server.presented]
    assert len(sent) == 6
    assert min(b - a for a, b in itertools.pairwise(sent)) >= 10 - 1e-6
    assert writes <= 7 * 6


@pytest.mark.parametrize("value", ["now", "2027-01-01", "2027-01-01T00:00:00", "0001-01-01T00:00Z"])
def test_a_bad_value_is_ignored_and_told_until_it_is_mended(running: Process, value: str) -> None:
    ask(running, value)
    assert running.cluster.server.tokens() == ["alice-0"]
    assert running.cluster.warning() == INVALID
    assert running.cluster.reasons().count(INVALID) == 1
    ask(running)
    assert running.cluster.live() == "alice-2"
    assert running.cluster.warning() == ""
