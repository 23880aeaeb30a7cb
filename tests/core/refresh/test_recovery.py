"""Intents found open, and replies found in the spool (docs/protocol.md 4.2)."""

from dataclasses import replace

import pytest

from csidriver.core.oauth.token_response import Success
from csidriver.core.refresh import effects, grant_secret
from csidriver.core.refresh.effects import RequestToken, SpoolEntry, SpoolRead, SpoolWrite
from csidriver.core.refresh.grant import with_intent
from csidriver.core.status import Status
from csidriver.errors import SpoolFailed, StoreRefused
from tests.core.refresh.cluster_checks import (
    GRANT,
    LIFE,
    companion,
    count,
    crash,
    die_with_a_reply,
    fail_next,
    grant,
    live,
    mirrored,
    once,
    reasons,
    restart,
)
from tests.core.refresh.virtual_cluster import (
    ISSUER,
    LOST_BEFORE,
    REF,
    START,
    Crashed,
    Process,
    VirtualCluster,
    answer,
)


class TestForeignIntent:
    @pytest.mark.parametrize("offset", [-3600.0, -90.0, 0.0, 90.0, 3600.0])
    def test_its_age_does_not_depend_on_the_clocks_of_replicas(
        self, cluster: VirtualCluster, offset: float
    ) -> None:
        """F2, F3: a peer whose clock is ahead must not take over what is in flight."""
        first, peer = Process(cluster), Process(cluster, holder="pod-2")
        cluster.offsets["pod-2"] = offset
        cluster.after = once(lambda e: isinstance(e, SpoolWrite), crash)
        with pytest.raises(Crashed):
            first.reconcile()
        cluster.now += 20
        peer.reconcile()
        assert peer.state.next_reconcile == pytest.approx(peer.clock + 40)
        peer.run_for(39)
        assert grant(cluster).status is not Status.UNCERTAIN
        peer.run_for(2)
        assert grant(cluster).status is Status.UNCERTAIN

    def test_its_age_goes_on_while_this_process_knows_it(self, cluster: VirtualCluster) -> None:
        first, peer = Process(cluster), Process(cluster, holder="pod-2")
        cluster.after = once(lambda e: isinstance(e, SpoolWrite), crash)
        with pytest.raises(Crashed):
            first.reconcile()
        peer.reconcile()
        reads = count(cluster, effects.GetSecret)
        cluster.now += 61
        peer.reconcile()
        assert count(cluster, effects.GetSecret) == reads
        assert grant(cluster).status is Status.UNCERTAIN

    def test_without_an_age_its_own_word_counts(self, cluster: VirtualCluster) -> None:
        cluster.ages = False
        first, peer = Process(cluster), Process(cluster, holder="pod-2")
        cluster.after = once(lambda e: isinstance(e, SpoolWrite), crash)
        with pytest.raises(Crashed):
            first.reconcile()
        cluster.now += 20
        assert peer.reconcile().next_reconcile == START + 60

    def test_one_for_another_token_is_void(self, running: Process) -> None:
        cluster = running.cluster
        announced = with_intent(grant(cluster), "nonce", "pod-9", cluster.now, 1e6)
        assert announced.intent is not None
        void = replace(announced, intent=replace(announced.intent, refresh_token_hash="another"))
        cluster._store(replace(cluster.secrets[GRANT], data=grant_secret.to_data(void)))
        fresh = Process(cluster)
        fresh.restart()
        fresh.reconcile()
        fresh.run_for(LIFE)
        assert cluster.server.tokens() == ["alice-0", "alice-1"]

    def test_a_window_is_counted_by_this_processs_clock(self, cluster: VirtualCluster) -> None:
        """The first send is 100 s ago, though the peer's clock calls that the future."""
        window = replace(ISSUER, reuse=90.0, token_endpoint="https://auth.example/token")
        first = Process(cluster, issuer=window)
        cluster.offsets["pod-1"] = 3600.0
        cluster.after = once(lambda e: isinstance(e, RequestToken), crash)
        with pytest.raises(Crashed):
            first.reconcile()
        cluster.now += 100
        peer = Process(cluster, holder="pod-2", issuer=window)
        peer.reconcile()
        peer.run_for(5)
        assert len(cluster.server.presented) == 1


class TestSpool:
    def test_an_entry_that_cannot_be_read_is_waited_for_and_then_uncertain(
        self, process: Process
    ) -> None:
        cluster = process.cluster
        cluster.server.script.append(LOST_BEFORE)
        cluster.after = once(lambda e: isinstance(e, RequestToken), crash)
        with pytest.raises(Crashed):
            process.reconcile()
        fail_next(cluster, SpoolRead, SpoolFailed("torn"), times=10**6)
        survivor = Process(cluster)
        with pytest.raises(SpoolFailed):
            survivor.reconcile()
        cluster.now += 61
        survivor.reconcile()
        assert companion(cluster).status is Status.UNCERTAIN
        survivor.run_for(LIFE / 2)
        assert live(cluster) == "alice-1"
        assert cluster.server.tokens() == ["alice-0", "alice-0"]

    def test_a_reply_that_can_be_read_again_is_stored(self, process: Process) -> None:
        cluster = process.cluster
        cluster.after = once(
            lambda e: isinstance(e, SpoolWrite) and e.entry.reply is not None, crash
        )
        with pytest.raises(Crashed):
            process.reconcile()
        fail_next(cluster, SpoolRead, SpoolFailed("busy"))
        survivor = Process(cluster)
        with pytest.raises(SpoolFailed):
            survivor.reconcile()
        cluster.now += 300
        survivor.reconcile()
        assert live(cluster) == "alice-1"
        assert len(cluster.server.presented) == 1


class TestGivenUp:
    """A peer took over, asked the server, and gave a reply up for lost that lay in our spool."""

    @pytest.fixture
    def lost(self, running: Process) -> Process:
        cluster = running.cluster

        cluster.server.introspects = True
        die_with_a_reply(running)
        kept = dict(cluster.spool)
        peer = Process(cluster, holder="pod-2")
        peer.restart()
        peer.reconcile()
        peer.run_for(1200)
        assert companion(cluster).status is Status.LOST_ROTATION
        cluster.spool.clear()
        cluster.spool.update(kept)
        return running

    def test_it_is_stored_when_its_process_is_back(self, lost: Process) -> None:
        cluster = lost.cluster
        restart(lost).reconcile()
        assert live(cluster) == mirrored(cluster) == "alice-2"
        assert companion(cluster).status is Status.READY
        assert cluster.server.tokens() == ["alice-0", "alice-1"]
        assert REF not in cluster.spool

    def test_one_of_another_token_is_not(self, lost: Process) -> None:
        cluster = lost.cluster
        cluster.spool[REF] = replace(cluster.spool[REF], refresh_token_hash="another")
        restart(lost).reconcile()
        assert companion(cluster).status is Status.LOST_ROTATION

    def test_a_spool_that_cannot_be_read_changes_nothing(self, lost: Process) -> None:
        cluster = lost.cluster

        def before(effect: effects.Effect[object]) -> None:
            if isinstance(effect, effects.SpoolRead):
                raise SpoolFailed("unreadable")

        cluster.before = before
        restart(lost).reconcile()
        assert companion(cluster).status is Status.LOST_ROTATION


class TestStillInDoubt:
    """A peer took over and holds the outcome for unknown; the reply lies in our spool."""

    @pytest.fixture
    def doubted(self, running: Process) -> Process:
        cluster = running.cluster

        die_with_a_reply(running)
        peer = Process(cluster, holder="pod-2")
        peer.restart()
        peer.reconcile()
        peer.run_for(200)
        assert companion(cluster).status is Status.UNCERTAIN
        return running

    def test_it_is_stored_and_the_old_token_is_not_presented_again(self, doubted: Process) -> None:
        cluster = doubted.cluster
        fresh = restart(doubted)
        fresh.reconcile()
        assert live(cluster) == "alice-2"
        fresh.run_for(LIFE / 4)
        assert cluster.server.tokens() == ["alice-0", "alice-1"]
        assert companion(cluster).status is Status.READY

    def test_nor_after_the_peer_announced_the_repetition_and_died(self, doubted: Process) -> None:
        cluster = doubted.cluster
        peer = Process(cluster, holder="pod-2")
        peer.restart()
        peer.reconcile()
        cluster.now = peer.state.next_reconcile or 0
        cluster.before = once(lambda e: isinstance(e, effects.RequestToken), crash)
        with pytest.raises(Crashed):
            peer.reconcile()
        fresh = restart(doubted)
        fresh.reconcile()
        fresh.run_for(200)
        assert live(cluster) == "alice-2"
        assert cluster.server.tokens() == ["alice-0", "alice-1"]

    def test_nor_when_the_repetition_got_no_answer_either(self, doubted: Process) -> None:
        cluster = doubted.cluster
        peer = Process(cluster, holder="pod-2")
        peer.restart()
        peer.reconcile()
        cluster.server.script.append(LOST_BEFORE)
        peer.run_for(LIFE)
        assert peer.state.next_reconcile is None
        restart(doubted).reconcile()
        # By now it is late: what was in the spool is due for its own refresh.
        assert cluster.server.tokens() == ["alice-0", "alice-1", "alice-1", "alice-2"]
        assert companion(cluster).status is Status.READY


def hide_source(effect: effects.Effect[object]) -> None:
    """The right to read the source was taken away."""
    if isinstance(effect, effects.GetSecret) and effect.namespace == REF.namespace:
        raise StoreRefused("no right")


@pytest.mark.parametrize("namespaces", [(), ("other",)], ids=["right gone", "unenrolled"])
def test_a_spooled_reply_is_stored_though_the_source_may_not_be_read(
    running: Process, namespaces: tuple[str, ...]
) -> None:
    cluster = running.cluster
    die_with_a_reply(running)
    assert live(cluster) == "alice-1"
    cluster.before = hide_source
    again = Process(cluster, namespaces=namespaces)
    again.restart()
    if namespaces:
        again.reconcile(event=True)
        assert again.state.next_reconcile is None
    else:
        with pytest.raises(StoreRefused):
            again.reconcile(event=True)
    assert live(cluster) == "alice-2"
    assert not cluster.spool
    assert cluster.server.tokens() == ["alice-0", "alice-1"]


def test_without_a_grant_nothing_is_recovered(process: Process) -> None:
    writes, process.cluster.before = process.cluster.writes, hide_source
    with pytest.raises(StoreRefused):
        process.reconcile()
    assert process.cluster.writes == writes


def test_a_spooled_reply_of_another_issuer_stays_there(running: Process) -> None:
    cluster = running.cluster
    die_with_a_reply(running)
    before, cluster.before = cluster.secrets[GRANT], hide_source
    moved = Process(cluster, issuer=replace(ISSUER, issuer="https://elsewhere.example"))
    moved.restart()
    with pytest.raises(StoreRefused):
        moved.reconcile(event=True)
    assert cluster.secrets[GRANT] is before
    assert cluster.spool


def test_what_another_replica_began_is_not_settled_where_the_source_may_not_be_read(
    running: Process,
) -> None:
    cluster = running.cluster
    die_with_a_reply(running)
    before = cluster.secrets[GRANT]
    cluster.before = hide_source
    cluster.now += LIFE
    with pytest.raises(StoreRefused):
        Process(cluster, "pod-2").reconcile()
    assert cluster.secrets[GRANT] is before


class TestCrashes:
    @pytest.mark.parametrize("earlier", [[], [LOST_BEFORE]], ids=["first", "second"])
    def test_a_reply_in_the_spool_is_stored_before_anything_is_sent(
        self, running: Process, earlier: list[str]
    ) -> None:
        cluster = running.cluster
        cluster.server.script += earlier
        cluster.after = once(
            lambda e: isinstance(e, SpoolWrite) and e.entry.reply is not None, crash
        )
        with pytest.raises(Crashed):
            running.run_for(LIFE)
        attempts = len(cluster.server.presented)
        Process(cluster).reconcile()
        assert len(cluster.server.presented) == attempts
        assert live(cluster) == mirrored(cluster) == "alice-2"

    def test_an_entry_of_another_attempt_is_not_believed(self, process: Process) -> None:
        cluster = process.cluster
        reply = answer(200, {"refresh_token": "stolen"})
        assert isinstance(reply, Success)
        fail_next(cluster, SpoolWrite, SpoolFailed("full"))
        with pytest.raises(SpoolFailed):
            process.reconcile()
        cluster.spool[REF] = SpoolEntry("another", START, reply.reply)
        Process(cluster).reconcile()
        assert live(cluster) == "alice-1"


class TestConflictsAndOutages:
    def test_an_intent_in_flight_is_waited_for(self, cluster: VirtualCluster) -> None:
        first, peer = Process(cluster), Process(cluster, holder="pod-2")
        cluster.before = once(lambda e: isinstance(e, RequestToken), peer.reconcile)
        first.reconcile()
        assert peer.state.next_reconcile == START + 60
        assert "Uncertain" not in reasons(cluster)
        peer.run_for(LIFE)
        assert cluster.server.tokens() == ["alice-0", "alice-1"]
        assert live(cluster) == mirrored(cluster) == "alice-2"
