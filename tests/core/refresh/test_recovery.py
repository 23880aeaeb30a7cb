"""Intents found open, and replies found in the spool (docs/protocol.md 4.2)."""

from dataclasses import replace

import pytest

from csidriver.core.oauth.token_response import Success
from csidriver.core.refresh import effects
from csidriver.core.refresh.effects import PatchSecret, SpoolEntry, SpoolRead, SpoolWrite
from csidriver.core.status import Status
from csidriver.errors import SpoolFailed, StoreRefused
from tests.core.refresh.hooks import is_send, is_spooled_reply, once
from tests.core.refresh.virtual_cluster import GRANT, ISSUER, LIFE, REF, Process, VirtualCluster
from tests.core.refresh.virtual_server import LOST_AFTER, LOST_BEFORE, START, answer


class TestForeignIntent:
    @pytest.fixture
    def peer(self, cluster: VirtualCluster) -> Process:
        """Another replica; the first one died when it had announced its request."""
        Process(cluster).die_after(lambda effect: isinstance(effect, SpoolWrite))
        return Process(cluster, holder="pod-2")

    @pytest.mark.parametrize("offset", [-3600.0, 0.0, 3600.0])
    def test_its_age_does_not_depend_on_the_clocks_of_replicas(
        self, cluster: VirtualCluster, peer: Process, offset: float
    ) -> None:
        """F2, F3: a peer whose clock is ahead must not take over what is in flight."""
        cluster.offsets["pod-2"] = offset
        cluster.now += 20
        peer.reconcile()
        assert peer.state.next_reconcile == pytest.approx(peer.clock + 40)
        reads = cluster.count(effects.GetSecret)
        peer.run_for(39)
        assert cluster.grant().status is not Status.UNCERTAIN
        peer.run_for(2)
        assert cluster.grant().status is Status.UNCERTAIN
        assert cluster.count(effects.GetSecret) == reads

    def test_an_intent_in_flight_is_waited_for(self, cluster: VirtualCluster) -> None:
        first, peer = Process(cluster), Process(cluster, holder="pod-2")
        cluster.before = once(is_send, peer.reconcile)
        first.reconcile()
        assert peer.state.next_reconcile == START + 60
        peer.run_for(LIFE)
        assert cluster.server.tokens() == ["alice-0", "alice-1"]
        assert cluster.live() == cluster.mirrored() == "alice-2"

    def test_a_window_is_counted_by_this_processs_clock(self, cluster: VirtualCluster) -> None:
        """The first send is 100 s ago, though the peer's clock calls that the future."""
        window = replace(ISSUER, reuse=90.0, token_endpoint="https://auth.example/token")
        cluster.offsets["pod-1"] = 3600.0
        Process(cluster, issuer=window).die_after(is_send)
        cluster.now += 100
        peer = Process(cluster, holder="pod-2", issuer=window)
        peer.reconcile()
        peer.run_for(5)
        assert len(cluster.server.presented) == 1


class TestSpool:
    def test_an_unreadable_entry_is_waited_for_and_then_uncertain(self, process: Process) -> None:
        cluster = process.cluster
        cluster.server.script.append(LOST_BEFORE)
        process.die_after(is_send)
        cluster.fail_next(SpoolRead, SpoolFailed("torn"), times=10**6)
        survivor = Process(cluster)
        with pytest.raises(SpoolFailed):
            survivor.reconcile()
        cluster.now += 61
        survivor.reconcile()
        assert cluster.companion().status is Status.UNCERTAIN
        survivor.run_for(LIFE / 2)
        assert cluster.live() == "alice-1"
        assert cluster.server.tokens() == ["alice-0", "alice-0"]

    def test_a_lost_answer_that_nobody_stored_is_uncertain(self, running: Process) -> None:
        cluster = running.cluster
        cluster.server.script.append(LOST_AFTER)
        presented = cluster.server.presented
        running.die_before(lambda e: isinstance(e, PatchSecret) and len(presented) == 2)
        running.restarted_for(1)
        assert cluster.server.tokens() == ["alice-0", "alice-1"]

    def test_an_entry_of_another_attempt_is_not_believed(self, process: Process) -> None:
        cluster = process.cluster
        reply = answer(200, {"refresh_token": "stolen"})
        assert isinstance(reply, Success)
        cluster.fail_next(SpoolWrite, SpoolFailed("full"))
        with pytest.raises(SpoolFailed):
            process.reconcile()
        cluster.spool[REF] = SpoolEntry("another", START, reply.reply)
        Process(cluster).reconcile()
        assert cluster.live() == "alice-1"


@pytest.mark.parametrize("introspects", [True, False], ids=["lost", "in doubt"])
def test_what_a_peer_gave_up_is_stored_when_its_process_is_back(
    running: Process, *, introspects: bool
) -> None:
    cluster = running.cluster
    cluster.server.introspects = introspects
    running.die_after(is_spooled_reply)
    running.peer(1200 if introspects else 200)
    given_up = Status.LOST_ROTATION if introspects else Status.UNCERTAIN
    assert cluster.companion().status is given_up
    fresh = running.restarted_for(0)
    assert cluster.live() == cluster.mirrored() == "alice-2"
    assert REF not in cluster.spool
    fresh.run_for(LIFE / 4)
    assert cluster.companion().status is Status.READY
    assert cluster.server.tokens() == ["alice-0", "alice-1"]


class TestNoRight:
    """The right to read the source was taken away when a reply lay in the spool."""

    def hide_source(self, effect: effects.Effect[object]) -> None:
        if isinstance(effect, effects.GetSecret) and effect.namespace == REF.namespace:
            raise StoreRefused("no right")

    @pytest.mark.parametrize("namespaces", [(), ("other",)], ids=["right gone", "unenrolled"])
    def test_a_spooled_reply_is_stored(self, running: Process, namespaces: tuple[str, ...]) -> None:
        running.die_after(is_spooled_reply)
        running.cluster.before = self.hide_source
        cluster, again = running.cluster, running.restarted()
        again.namespaces = namespaces
        if namespaces:
            again.reconcile(event=True)
            assert again.state.next_reconcile is None
        else:
            with pytest.raises(StoreRefused):
                again.reconcile(event=True)
        assert cluster.live() == "alice-2"
        assert not cluster.spool
        again.run_for(10 * LIFE if namespaces else 0.0)
        assert cluster.server.tokens() == ["alice-0", "alice-1"]

    @pytest.mark.parametrize("moved", [False, True], ids=["another replica", "another issuer"])
    def test_what_others_began_is_not_settled(self, running: Process, *, moved: bool) -> None:
        running.die_after(is_spooled_reply)
        cluster, stored = running.cluster, running.cluster.secrets[GRANT]
        cluster.before = self.hide_source
        again = running.restarted() if moved else Process(cluster, "pod-2")
        again.issuer = replace(ISSUER, issuer="https://elsewhere.example") if moved else ISSUER
        cluster.now += LIFE
        with pytest.raises(StoreRefused):
            again.reconcile(event=True)
        assert cluster.secrets[GRANT] is stored
        assert cluster.spool

    def test_without_a_grant_nothing_is_recovered(self, process: Process) -> None:
        writes, process.cluster.before = process.cluster.writes, self.hide_source
        with pytest.raises(StoreRefused):
            process.reconcile()
        assert process.cluster.writes == writes
