"""SIGKILL at every step of a refresh, then a restart: of the container, or of a pod that is lost.

A rehearsal tells the steps, of the first refresh of a new Secret and of a later one. Then one
process after the other dies at each of them. The authorization server is strict: what it commits
and nobody has written down is lost, and nothing else is.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from csidriver.core import annotations
from csidriver.core.refresh.grant import Grant
from csidriver.core.refresh.messages import LOST_ROTATION_MESSAGE, READY_MESSAGE
from csidriver.core.refresh.schedule import lead_time, min_interval
from csidriver.core.status import Status
from csidriver.demo.presentation_log import Outcome
from tests.cluster.cluster import Cluster
from tests.cluster.controlplane import PROGRAMS
from tests.cluster.killable_child import RECONCILED
from tests.cluster.killable_refresher import LIFETIME, NAME, NEXT, KillableRefresher, KillTestSetup
from tests.issuer.policy import Policy
from tests.node.killable_plugin import ForkServer
from tests.refresher.bench import Bench
from tests.waiting import until

pytestmark = pytest.mark.tools(*PROGRAMS)
# Nearly all of a case is waiting: for an intent to be void, for the last moment of a token.
SIDE_BY_SIDE = 32

Before = Callable[[KillableRefresher], None]


def new(_: KillableRefresher) -> None:
    """The Secret is one that nobody has seen yet."""


# The steps before the last effects of a reconcile, in this order.
REFRESH = ["PatchSecret grant", "open .draft", "rename .draft", "RequestToken", "connect", "send"]
REFRESH += ["SpoolWrite", "open .draft", "rename .draft", "PatchSecret grant"]
REFRESH += ["PatchSecret token", "PatchSecret source", "SpoolClear", "remove .json", RECONCILED]
STORIES: dict[Before, list[str]] = {
    new: ["GetSecret source", "CreateSecret grant", "CreateSecret token", *REFRESH],
    KillableRefresher.prepare_due_token: REFRESH,
}


def _rehearse(setup: KillTestSetup, before: Before) -> list[str]:
    with closing(KillableRefresher(setup)) as one:
        before(one)
        one.launch()
        one.wait_until_done()
        until(lambda: one.recorded_steps()[-1:] == [RECONCILED])
        return one.recorded_steps()


def rehearsed(setup: KillTestSetup, before: Before) -> list[str]:
    while is_slow(steps := _rehearse(setup, before)):
        pass
    left = iter(steps)
    assert all(step in left for step in STORIES[before]), " ".join(steps)
    return steps


def is_lost(one: KillableRefresher, *, pod: bool) -> bool:
    """Whether the reply died with the process: the server has committed, and nobody wrote it."""
    grant, entry = one.grant(), one.spool_entry()
    stored = grant is not None and grant.live_hash != one.live_hash
    spooled = entry is not None and entry.reply is not None and not pod
    return one.outcomes() == [Outcome.ROTATED] and not stored and not spooled


def is_slow(steps: list[str]) -> bool:
    """Return True if the intent took so long to store that another one followed it."""
    return "SpoolClear" in steps and "RequestToken" not in steps[: steps.index("SpoolClear")]


def play(setup: KillTestSetup, before: Before, at: int, steps: list[str], *, pod: bool) -> bool:
    """One death and one restart; whether the reply was lost with the process."""
    while (lost := _try(setup, before, at, steps, pod=pod)) is None:
        pass
    return lost


def _try(
    setup: KillTestSetup, before: Before, at: int, steps: list[str], *, pod: bool
) -> bool | None:
    """Return None if the machine was so slow that the steps were others."""
    with closing(KillableRefresher(setup)) as one:
        with setup.starting:
            before(one)
            one.launch(at)
            one.wait_until_killed()
        if is_slow(one.recorded_steps()):
            return None
        assert one.recorded_steps() == steps[: at + 1]
        due, lost = late_try(one.grant()), is_lost(one, pod=pod)
        if pod:
            one.replace_pod()
        with setup.starting:
            one.launch(watched=False)
        one.wait_until_done()
        judge(one, due, lost=lost)
        return lost


def judge(one: KillableRefresher, due: float, *, lost: bool) -> None:
    grant, seen, source = one.grant(), one.user.companion(NAME), one.user.source(NAME)
    assert grant is not None
    assert seen is not None
    rows = [row for row in one.presentations() if row.token_hash == one.live_hash]
    if lost:
        assert (grant.status, grant.message) == (Status.LOST_ROTATION, LOST_ROTATION_MESSAGE)
        assert one.outcomes() == [Outcome.ROTATED, Outcome.REPLAYED]
        earliest = rows[0].presented_at + min_interval(LIFETIME)
        assert rows[1].presented_at >= max(earliest, due) - 0.1
    else:
        assert (grant.status, grant.message) == (Status.READY, READY_MESSAGE)
        assert one.outcomes() == [Outcome.ROTATED]
        assert grant.live_hash == rows[-1].successor_hash
        assert one.user.is_mirrored(NAME)
    given = None if seen.token is None else seen.token.value
    assert given == grant.document.access_token
    assert source.annotations[annotations.STATUS] == seen.status.value == grant.status.value
    assert source.annotations[annotations.MESSAGE] == seen.message == grant.user_message
    assert "Traceback" not in one.log()


def late_try(grant: Grant | None) -> float:
    """The last moment before the token in hand expires; there is none before the first refresh."""
    if grant is None or not grant.expires_at:
        return 0.0
    return grant.expires_at - lead_time(LIFETIME) / 4


@pytest.fixture(scope="module")
def place(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KillTestSetup]:
    folder = tmp_path_factory.mktemp("kill")
    # Who cannot be asked about a token is presented it again, late.
    with (
        ForkServer("tests.cluster.killable_child") as fork_server,
        Bench(folder, Policy(lifetime=NEXT, introspection=False)) as bench,
    ):
        bench.configure(bench.entry(reuse="strict", defaultLifetime=LIFETIME))
        yield KillTestSetup(cluster, bench, fork_server, folder)


@pytest.mark.parametrize("before", STORIES, ids=["first", "later"])
def test_a_kill_at_any_step_loses_only_what_the_server_committed_and_nobody_wrote(
    place: KillTestSetup, before: Before
) -> None:
    steps = rehearsed(place, before)
    cases = [(at, pod) for pod in (True, False) for at in range(len(steps))]
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        ends = [pool.submit(play, place, before, at, steps, pod=pod) for at, pod in cases]
    failed = {
        f"{at}, {steps[at]}, {'pod' if pod else 'container'}": repr(end.exception())
        for (at, pod), end in zip(cases, ends, strict=True)
        if end.exception() is not None
    }
    assert failed == {}
    losses: tuple[set[str], set[str]] = set(), set()
    for (at, pod), end in zip(cases, ends, strict=True):
        if end.result():
            losses[pod].add(steps[at])
    unspooled = {"SpoolWrite", "open .draft", "rename .draft"}
    # A pod takes its spool along.
    assert losses == (unspooled, {*unspooled, "PatchSecret grant"})
