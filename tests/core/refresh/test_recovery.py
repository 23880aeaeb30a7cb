"""Intents found open, and replies found in the spool (docs/protocol.md 4.2)."""

from dataclasses import replace

import pytest

from csidriver.core.oauth.token_response import Success
from csidriver.core.refresh import effects, grant_secret
from csidriver.core.refresh.effects import RequestToken, SpoolEntry, SpoolRead, SpoolWrite
from csidriver.core.refresh.grant import with_intent
from csidriver.core.status import Status
from csidriver.errors import SpoolFailed, StoreRefused
from tests.core.refresh.assertions import (
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
from tests.core.refresh.world import (
    ISSUER,
    LOST_BEFORE,
    REF,
    START,
    Crashed,
    Process,
    World,
    answer,
)


class TestForeignIntent:
    @pytest.mark.parametrize("offset", [-3600.0, -90.0, 0.0, 90.0, 3600.0])
    def test_its_age_does_not_depend_on_the_clocks_of_replicas(
        self, world: World, offset: float
    ) -> None:
        """F2, F3: a peer whose clock is ahead must not take over what is in flight."""
        first, peer = Process(world), Process(world, holder="pod-2")
        world.offsets["pod-2"] = offset
        world.after = once(lambda e: isinstance(e, SpoolWrite), crash)
        with pytest.raises(Crashed):
            first.visit()
        world.now += 20
        peer.visit()
        assert peer.known.next_reconcile == pytest.approx(peer.clock + 40)
        peer.work(39)
        assert grant(world).status is not Status.UNCERTAIN
        peer.work(2)
        assert grant(world).status is Status.UNCERTAIN

    def test_its_age_goes_on_while_this_process_knows_it(self, world: World) -> None:
        first, peer = Process(world), Process(world, holder="pod-2")
        world.after = once(lambda e: isinstance(e, SpoolWrite), crash)
        with pytest.raises(Crashed):
            first.visit()
        peer.visit()
        reads = count(world, effects.GetSecret)
        world.now += 61
        peer.visit()
        assert count(world, effects.GetSecret) == reads
        assert grant(world).status is Status.UNCERTAIN

    def test_without_an_age_its_own_word_counts(self, world: World) -> None:
        world.ages = False
        first, peer = Process(world), Process(world, holder="pod-2")
        world.after = once(lambda e: isinstance(e, SpoolWrite), crash)
        with pytest.raises(Crashed):
            first.visit()
        world.now += 20
        assert peer.visit().next_reconcile == START + 60

    def test_one_for_another_token_is_void(self, running: Process) -> None:
        world = running.world
        announced = with_intent(grant(world), "nonce", "pod-9", world.now, 1e6)
        assert announced.intent is not None
        void = replace(announced, intent=replace(announced.intent, refresh_token_hash="another"))
        world._store(replace(world.secrets[GRANT], data=grant_secret.to_data(void)))
        fresh = Process(world)
        fresh.restart()
        fresh.visit()
        fresh.work(LIFE)
        assert world.server.tokens() == ["alice-0", "alice-1"]

    def test_a_window_is_counted_by_this_processs_clock(self, world: World) -> None:
        """The first send is 100 s ago, though the peer's clock calls that the future."""
        window = replace(ISSUER, reuse=90.0, token_endpoint="https://auth.example/token")
        first = Process(world, issuer=window)
        world.offsets["pod-1"] = 3600.0
        world.after = once(lambda e: isinstance(e, RequestToken), crash)
        with pytest.raises(Crashed):
            first.visit()
        world.now += 100
        peer = Process(world, holder="pod-2", issuer=window)
        peer.visit()
        peer.work(5)
        assert len(world.server.presented) == 1


class TestSpool:
    def test_an_entry_that_cannot_be_read_is_waited_for_and_then_uncertain(
        self, process: Process
    ) -> None:
        world = process.world
        world.server.script.append(LOST_BEFORE)
        world.after = once(lambda e: isinstance(e, RequestToken), crash)
        with pytest.raises(Crashed):
            process.visit()
        fail_next(world, SpoolRead, SpoolFailed("torn"), times=10**6)
        survivor = Process(world)
        with pytest.raises(SpoolFailed):
            survivor.visit()
        world.now += 61
        survivor.visit()
        assert companion(world).status is Status.UNCERTAIN
        survivor.work(LIFE / 2)
        assert live(world) == "alice-1"
        assert world.server.tokens() == ["alice-0", "alice-0"]

    def test_a_reply_that_can_be_read_again_is_stored(self, process: Process) -> None:
        world = process.world
        world.after = once(lambda e: isinstance(e, SpoolWrite) and e.entry.reply is not None, crash)
        with pytest.raises(Crashed):
            process.visit()
        fail_next(world, SpoolRead, SpoolFailed("busy"))
        survivor = Process(world)
        with pytest.raises(SpoolFailed):
            survivor.visit()
        world.now += 300
        survivor.visit()
        assert live(world) == "alice-1"
        assert len(world.server.presented) == 1


class TestGivenUp:
    """A peer took over, asked the server, and gave a reply up for lost that lay in our spool."""

    @pytest.fixture
    def lost(self, running: Process) -> Process:
        world = running.world

        world.server.introspects = True
        die_with_a_reply(running)
        kept = dict(world.spool)
        peer = Process(world, holder="pod-2")
        peer.restart()
        peer.visit()
        peer.work(1200)
        assert companion(world).status is Status.LOST_ROTATION
        world.spool.clear()
        world.spool.update(kept)
        return running

    def test_it_is_stored_when_its_process_is_back(self, lost: Process) -> None:
        world = lost.world
        restart(lost).visit()
        assert live(world) == mirrored(world) == "alice-2"
        assert companion(world).status is Status.READY
        assert world.server.tokens() == ["alice-0", "alice-1"]
        assert REF not in world.spool

    def test_one_of_another_token_is_not(self, lost: Process) -> None:
        world = lost.world
        world.spool[REF] = replace(world.spool[REF], refresh_token_hash="another")
        restart(lost).visit()
        assert companion(world).status is Status.LOST_ROTATION

    def test_a_spool_that_cannot_be_read_changes_nothing(self, lost: Process) -> None:
        world = lost.world

        def before(effect: effects.Effect[object]) -> None:
            if isinstance(effect, effects.SpoolRead):
                raise SpoolFailed("unreadable")

        world.before = before
        restart(lost).visit()
        assert companion(world).status is Status.LOST_ROTATION


class TestStillInDoubt:
    """A peer took over and holds the outcome for unknown; the reply lies in our spool."""

    @pytest.fixture
    def doubted(self, running: Process) -> Process:
        world = running.world

        die_with_a_reply(running)
        peer = Process(world, holder="pod-2")
        peer.restart()
        peer.visit()
        peer.work(200)
        assert companion(world).status is Status.UNCERTAIN
        return running

    def test_it_is_stored_and_the_old_token_is_not_presented_again(self, doubted: Process) -> None:
        world = doubted.world
        fresh = restart(doubted)
        fresh.visit()
        assert live(world) == "alice-2"
        fresh.work(LIFE / 4)
        assert world.server.tokens() == ["alice-0", "alice-1"]
        assert companion(world).status is Status.READY

    def test_nor_after_the_peer_announced_the_repetition_and_died(self, doubted: Process) -> None:
        world = doubted.world
        peer = Process(world, holder="pod-2")
        peer.restart()
        peer.visit()
        world.now = peer.known.next_reconcile or 0
        world.before = once(lambda e: isinstance(e, effects.RequestToken), crash)
        with pytest.raises(Crashed):
            peer.visit()
        fresh = restart(doubted)
        fresh.visit()
        fresh.work(200)
        assert live(world) == "alice-2"
        assert world.server.tokens() == ["alice-0", "alice-1"]

    def test_nor_when_the_repetition_got_no_answer_either(self, doubted: Process) -> None:
        world = doubted.world
        peer = Process(world, holder="pod-2")
        peer.restart()
        peer.visit()
        world.server.script.append(LOST_BEFORE)
        peer.work(LIFE)
        assert peer.known.next_reconcile is None
        restart(doubted).visit()
        # By now it is late: what was in the spool is due for its own refresh.
        assert world.server.tokens() == ["alice-0", "alice-1", "alice-1", "alice-2"]
        assert companion(world).status is Status.READY


def hide_source(effect: effects.Effect[object]) -> None:
    """The right to read the source was taken away."""
    if isinstance(effect, effects.GetSecret) and effect.namespace == REF.namespace:
        raise StoreRefused("no right")


@pytest.mark.parametrize("namespaces", [(), ("other",)], ids=["right gone", "unenrolled"])
def test_a_spooled_reply_is_stored_though_the_source_may_not_be_read(
    running: Process, namespaces: tuple[str, ...]
) -> None:
    world = running.world
    die_with_a_reply(running)
    assert live(world) == "alice-1"
    world.before = hide_source
    again = Process(world, namespaces=namespaces)
    again.restart()
    if namespaces:
        again.visit(event=True)
        assert again.known.next_reconcile is None
    else:
        with pytest.raises(StoreRefused):
            again.visit(event=True)
    assert live(world) == "alice-2"
    assert not world.spool
    assert world.server.tokens() == ["alice-0", "alice-1"]


def test_what_another_replica_began_is_not_settled_where_the_source_may_not_be_read(
    running: Process,
) -> None:
    world = running.world
    die_with_a_reply(running)
    before = world.secrets[GRANT]
    world.before = hide_source
    world.now += LIFE
    with pytest.raises(StoreRefused):
        Process(world, "pod-2").visit()
    assert world.secrets[GRANT] is before


class TestCrashes:
    @pytest.mark.parametrize("earlier", [[], [LOST_BEFORE]], ids=["first", "second"])
    def test_a_reply_in_the_spool_is_stored_before_anything_is_sent(
        self, running: Process, earlier: list[str]
    ) -> None:
        world = running.world
        world.server.script += earlier
        world.after = once(lambda e: isinstance(e, SpoolWrite) and e.entry.reply is not None, crash)
        with pytest.raises(Crashed):
            running.work(LIFE)
        attempts = len(world.server.presented)
        Process(world).visit()
        assert len(world.server.presented) == attempts
        assert live(world) == mirrored(world) == "alice-2"

    def test_an_entry_of_another_attempt_is_not_believed(self, process: Process) -> None:
        world = process.world
        reply = answer(200, {"refresh_token": "stolen"})
        assert isinstance(reply, Success)
        fail_next(world, SpoolWrite, SpoolFailed("full"))
        with pytest.raises(SpoolFailed):
            process.visit()
        world.spool[REF] = SpoolEntry("another", START, reply.reply)
        Process(world).visit()
        assert live(world) == "alice-1"


class TestConflictsAndOutages:
    def test_an_intent_in_flight_is_waited_for(self, world: World) -> None:
        first, peer = Process(world), Process(world, holder="pod-2")
        world.before = once(lambda e: isinstance(e, RequestToken), peer.visit)
        first.visit()
        assert peer.known.next_reconcile == START + 60
        assert "Uncertain" not in reasons(world)
        peer.work(LIFE)
        assert world.server.tokens() == ["alice-0", "alice-1"]
        assert live(world) == mirrored(world) == "alice-2"
