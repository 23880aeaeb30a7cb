"""One login in two Secrets: docs/protocol.md section 2.5."""

import pytest

from csidriver.core.names import SourceRef
from csidriver.core.refresh.effects import CreateSecret
from csidriver.core.status import Status
from tests.core.refresh.hooks import once
from tests.core.refresh.virtual_cluster import LIFE, REF, Process, document, run_together

COPY = SourceRef("physics", "copy")
ABROAD = SourceRef("chemistry", "copy")


def copied(elder: Process, ref: SourceRef, text: str = "") -> Process:
    """Another Secret with the same document, or with another one."""
    cluster = elder.cluster
    cluster.now += 1
    cluster.apply(text or cluster.source().data["oauth"].reveal(), ref=ref)
    return Process(cluster, ref=ref)


@pytest.mark.parametrize("ref", [COPY, ABROAD])
def test_a_copied_secret_says_so_and_sends_nothing(running: Process, ref: SourceRef) -> None:
    cluster = running.cluster
    copy = copied(running, ref)
    copy.reconcile()
    told = cluster.companion(ref)
    assert told.status is Status.DUPLICATE_GRANT
    assert (REF.name in told.message) is (ref.namespace == REF.namespace)
    assert cluster.status(ref) == "DuplicateGrant"
    writes = cluster.writes
    copy.run_for(600)
    assert cluster.writes == writes
    run_together(10 * LIFE, running, copy)
    assert cluster.live() == cluster.mirrored() == cluster.server.families["alice"][-1]
    assert len(set(cluster.server.tokens())) == len(cluster.server.tokens())
    assert cluster.companion(REF).status is Status.READY


@pytest.mark.parametrize("lag", [0.0, 0.5])
def test_of_two_that_are_adopted_side_by_side_one_is_sent(process: Process, lag: float) -> None:
    """As when both are in one manifest: the younger may be through before the elder is stored."""
    cluster = process.cluster

    def overtake() -> None:
        copy = copied(process, COPY)
        cluster.now += lag - 1
        copy.reconcile()

    cluster.after = once(lambda effect: isinstance(effect, CreateSecret), overtake)
    process.reconcile()
    assert cluster.server.tokens() == ["alice-0"]


def test_an_old_mirror_in_another_secret_does_not_kill_the_login(running: Process) -> None:
    """Presenting what the elder has replaced, long ago by the end, would look like theft."""
    cluster = running.cluster
    old = cluster.source().data["oauth"].reveal()
    running.run_for(3 * LIFE)
    copy = copied(running, COPY, old)
    copy.reconcile()
    run_together(20 * LIFE, running, copy)
    fresh = Process(cluster, ref=COPY)
    fresh.reconcile()
    run_together(2 * LIFE, running, fresh)
    assert cluster.server.tokens().count("alice-1") == 1
    assert cluster.companion(COPY).status is Status.DUPLICATE_GRANT
    assert cluster.companion(REF).status is Status.READY


def test_it_is_healed_when_the_elder_goes(running: Process) -> None:
    copy = copied(running, COPY)
    copy.reconcile()
    running.delete()
    run_together(601 + 60, running, copy)
    assert running.cluster.companion(COPY).status is Status.READY
    assert copy.state.grant is not None
    assert copy.state.grant.duplicate_of == ""
    assert running.cluster.server.tokens() == ["alice-0", "alice-1"]


def test_a_reseed_with_anothers_login_makes_it_the_younger(running: Process) -> None:
    cluster = running.cluster
    other = copied(running, COPY, document(cluster.server.login("bob")))
    other.reconcile()
    running.edit(cluster.secrets[COPY.namespace, COPY.name].data["oauth"].reveal())
    assert cluster.companion(REF).status is Status.DUPLICATE_GRANT
    run_together(LIFE, running, other)
    assert cluster.companion(COPY).status is Status.READY
    assert cluster.server.tokens() == ["alice-0", "bob-0", "bob-1"]
