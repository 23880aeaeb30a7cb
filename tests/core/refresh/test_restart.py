"""What a start, a refresh and a change cost, and what of it is noticed."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from csidriver.core import annotations, names
from csidriver.core.kubernetes.change import SecretChange, TokenObject
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.token_response import Failure
from csidriver.core.refresh import effects, grant_secret
from csidriver.core.refresh.state import TokenState
from csidriver.core.sensitive import Sensitive
from csidriver.core.status import Status
from csidriver.errors import SpoolFailed, StoreConflict, StoreRefused
from tests.core.refresh.assertions import (
    COMPANION,
    GRANT,
    LIFE,
    SOURCE,
    companion,
    crash,
    delete,
    document,
    grant,
    live,
    mirrored,
    note,
    once,
    presented_twice,
    reasons,
    source,
)
from tests.core.refresh.world import ISSUER, LOST_BEFORE, REF, Crashed, Process, World, answer

READS = (effects.GetSecret,)
WRITES = (effects.CreateSecret, effects.PatchSecret, effects.DeleteSecret)


def cost(world: World, act: Callable[[], object]) -> tuple[int, int]:
    """Reads and writes of the backend that something takes."""
    before = len(world.done)
    act()
    done = world.done[before:]
    return sum(isinstance(e, READS) for e in done), sum(isinstance(e, WRITES) for e in done)


def restart(process: Process) -> Process:
    fresh = Process(process.world, holder=process.holder, issuer=process.issuer)
    fresh.restart()
    return fresh


class TestCost:
    def test_a_refresh_takes_four_writes_and_no_read(self, running: Process) -> None:
        running.world.now = running.known.next_reconcile or 0
        assert cost(running.world, running.visit) == (0, 4)
        assert live(running.world) == "alice-2"

    def test_a_server_that_never_rotates_saves_the_intent(self, running: Process) -> None:
        running.issuer = replace(ISSUER, reuse=float("inf"))
        running.world.now = running.known.next_reconcile or 0
        assert cost(running.world, running.visit) == (0, 3)

    def test_a_day_of_refreshes_reads_nothing(self, running: Process) -> None:
        reads, writes = cost(running.world, lambda: running.work(86400))
        assert (reads, writes) == (0, 4 * (len(running.world.server.presented) - 1))

    @pytest.mark.parametrize("refreshes", [0, 1, 3])
    def test_a_start_with_a_token_in_order_costs_nothing(
        self, running: Process, refreshes: int
    ) -> None:
        running.work(refreshes * LIFE)
        fresh = restart(running)
        assert cost(running.world, fresh.visit) == (0, 0)
        assert fresh.known.next_reconcile == running.known.next_reconcile
        fresh.world.now = fresh.known.next_reconcile or 0
        before = live(fresh.world)
        assert cost(running.world, fresh.visit) == (0, 4)
        assert live(fresh.world) == mirrored(fresh.world) != before
        fresh.hear()
        assert cost(running.world, fresh.visit) == (0, 0)

    @pytest.mark.parametrize("what", TokenObject)
    def test_ones_own_writes_are_no_news(self, running: Process, what: TokenObject) -> None:
        known = running.known
        for version in [v for w, v in known.own_versions if w is what]:
            known = known.with_change(SecretChange(REF, what, version))
        assert not known.source_stale
        assert not known.grant_stale
        assert all(w is not what for w, _ in known.own_versions)

    def test_only_so_many_of_them_are_remembered(self, running: Process) -> None:
        running.work(86400)
        assert len(running.known.own_versions) == 16


class TestRestored:
    def test_the_alias_of_the_documents_key_is_remembered(self) -> None:
        world = World()
        world.apply("", oauth2=document(world.server.login("alice")))
        stored = world.secrets[SOURCE]
        world._store(replace(stored, data={k: v for k, v in stored.data.items() if k != "oauth"}))
        process = Process(world)
        process.visit()
        fresh = restart(process)
        fresh.visit()
        fresh.work(LIFE)
        assert live(world) == "alice-2"
        assert '"alice-2"' in source(world).data["oauth2"].reveal()
        assert "oauth" not in source(world).data

    @pytest.mark.parametrize("edit", ["label", "old seed"])
    def test_an_outside_edit_costs_one_read(self, running: Process, edit: str) -> None:
        world = running.world
        if edit == "label":
            world._store(replace(source(world), manager="kubectl-label"))
        else:
            world.apply(document("alice-0"))
        fresh = restart(running)
        assert cost(world, fresh.visit)[0] == 1
        assert (note(world, annotations.WARNING) == "OldSeedRestored") is (edit == "old seed")
        assert live(world) == "alice-1"

    def test_a_reseed_while_nobody_watched_is_adopted(self, running: Process) -> None:
        running.world.apply(document(running.world.server.login("bob")))
        restart(running).visit()
        assert live(running.world) == "bob-1"

    def test_a_source_that_went_while_nobody_watched_is_noticed(self, running: Process) -> None:
        delete(running.world, SOURCE)
        fresh = restart(running)
        fresh.visit()
        fresh.work(601)
        assert running.world.secrets == {}

    def test_what_a_crash_left_unwritten_is_written_without_a_read(self, running: Process) -> None:
        """The grant moved on after the source was last written: it has been seen, and lags."""
        world = running.world
        world.before = once(
            lambda e: isinstance(e, effects.PatchSecret) and e.base.name == REF.name, crash
        )
        with pytest.raises(Crashed):
            running.work(LIFE)
        assert mirrored(world) == "alice-1"
        fresh = restart(running)
        assert cost(world, fresh.visit) == (0, 1)
        assert mirrored(world) == live(world) == "alice-2"
        assert companion(world).generation == grant(world).generation

    def test_a_status_that_a_crash_left_untold_is_told(self, running: Process) -> None:
        """Nothing would happen any more that could tell it."""
        world = running.world
        world.server.families.clear()
        world.server.script.append(answer(400, {"error": "login_required"}))
        world.before = once(
            lambda e: isinstance(e, effects.PatchSecret) and e.base.name == REF.name, crash
        )
        with pytest.raises(Crashed):
            running.work(LIFE)
        assert note(world, annotations.STATUS) == "Ready"
        restart(running).visit()
        assert note(world, annotations.STATUS) == "NeedsReauth"
        assert note(world, annotations.NEXT_REFRESH) == ""

    def test_what_is_known_by_its_version_alone_still_shows_what_is_owed(
        self, running: Process
    ) -> None:
        """A process may forget what a source holds; the grant gets its version all the same."""
        world = running.world
        for _ in range(3):
            running.known = replace(running.known, source_data_omitted=True)
            world.now = running.known.next_reconcile or 0
            running.visit()
        running.known = replace(running.known, source_data_omitted=True)
        world.before = once(
            lambda e: isinstance(e, effects.PatchSecret) and e.base.name == REF.name, crash
        )
        with pytest.raises(Crashed):
            running.work(LIFE)
        restart(running).visit()
        assert mirrored(world) == live(world) == "alice-5"

    def test_notes_of_which_nothing_is_known_are_all_written(self, running: Process) -> None:
        world = running.world
        running.world.immutable.add(REF)
        running.work(LIFE)
        assert note(world, annotations.WARNING) == "MirrorRefused"
        world.immutable.clear()
        fresh = restart(running)
        fresh.visit()
        fresh.work(LIFE)
        assert note(world, annotations.WARNING) == ""
        assert mirrored(world) == live(world)

    def test_a_status_is_not_told_twice(self, running: Process) -> None:
        fresh = restart(running)
        fresh.visit()
        fresh.work(3 * LIFE)
        assert reasons(running.world).count("Ready") == 1

    def test_ones_own_note_on_a_broken_edit_does_not_hide_it_from_a_restart(
        self, running: Process
    ) -> None:
        """The mirror would overwrite what a human has begun to write."""
        world = running.world
        broken = '{"refresh_token": "bob-0",'
        world.apply(broken)
        running.visit(event=True)
        assert note(world, annotations.STATUS) == "Invalid"
        fresh = restart(running)
        fresh.visit()
        fresh.work(LIFE)
        assert source(world).data["oauth"].reveal() == broken
        assert note(world, annotations.STATUS) == "Invalid"
        assert live(world) != "alice-1"

    def test_ones_own_note_does_not_hide_another_issuer_from_a_restart(
        self, running: Process
    ) -> None:
        world = running.world
        world.apply(document("alice-1"), issuer="elsewhere")
        running.visit(event=True)
        fresh = restart(running)
        fresh.visit()
        world.now += LIFE
        fresh.visit()
        assert world.server.tokens() == ["alice-0"]
        assert companion(world).status is Status.MISCONFIGURED

    def test_ones_own_note_does_not_hide_new_credentials_or_a_new_uid(
        self, running: Process
    ) -> None:
        world = running.world
        delete(world, SOURCE)
        recreated = world.apply(document("alice-0"), clientSecret="better")
        running.visit(event=True)
        assert source(world).manager == names.FIELD_MANAGER
        fresh = restart(running)
        assert cost(world, fresh.visit) == (0, 0)
        fresh.work(LIFE)
        sent = [e for e in world.done if isinstance(e, effects.RequestToken)]
        assert sent[-1].client.client_secret == Sensitive("better")
        assert companion(world).source_uid == recreated.uid

    def test_a_damaged_grant_is_left_to_the_first_visit(self, running: Process) -> None:
        damaged = replace(running.world.secrets[GRANT], data={})
        change = SecretChange(
            REF, TokenObject.SOURCE, source(running.world).resource_version, written_by_driver=True
        )
        assert TokenState.from_lists(REF, damaged, None, change, read_at=0.0) == TokenState(REF)

    def test_a_grant_of_an_earlier_release_is_read(self, running: Process) -> None:
        """It does not say where the source keeps the document."""
        world = running.world
        stored = world.secrets[GRANT]
        state = json.loads(stored.data["state"].reveal())
        for name in ("adoptedAt", "inherited", "signal", "fingerprint", "unscoped", "twin"):
            del state[name]
        for name in ("refreshExpiresAt", "refreshRenewed", "expiryStep"):
            del state[name]
        del state["source"]["key"]
        data = {**stored.data, "state": Sensitive(json.dumps(state))}
        world.secrets[GRANT] = replace(stored, data=data)
        assert grant(world).adopted_at == 0
        fresh = restart(running)
        assert cost(world, fresh.visit)[0] == 1
        fresh.work(LIFE)
        assert live(world) == mirrored(world) == "alice-2"
        assert grant(world).key == "oauth"

    @pytest.mark.parametrize("version", ["", "gone"])
    def test_a_source_the_watch_did_not_find_is_read(self, running: Process, version: str) -> None:
        change = SecretChange(REF, TokenObject.SOURCE, version) if version != "gone" else None
        stored = running.world.secrets[GRANT]
        known = TokenState.from_lists(REF, stored, None, change, read_at=0.0)
        assert known.source_stale
        assert not known.grant_stale


class TestStale:
    def test_a_foreign_version_of_a_read_source_is_read(self, running: Process) -> None:
        running.world._store(source(running.world))
        assert running.hear().source_stale

    def test_an_unread_source_that_a_peer_wrote_to_is_read(self, running: Process) -> None:
        """The peer may have seen an edit that no event told this process of."""
        other = restart(running)
        running.work(LIFE)
        assert other.hear().source_stale

    def test_but_not_after_somebody_else_did(self, running: Process) -> None:
        world = running.world
        standby = restart(running)
        world.apply(document(world.server.login("bob")))
        standby.hear()
        running.visit(event=True)
        assert standby.hear().source_stale

    def test_a_source_that_is_gone_is_no_news_to_who_knows_none(self) -> None:
        known = replace(TokenState(REF), source_stale=False, grant_stale=False)
        assert known.with_change(SecretChange(REF, TokenObject.SOURCE, "")) == known
        assert known.with_change(SecretChange(REF, TokenObject.SOURCE, "5")).source_stale

    def test_a_restored_version_is_news_although_it_was_ours_once(self, running: Process) -> None:
        """The directory backend names a version by its content."""
        world = running.world
        old = world.secrets[COMPANION]
        running.work(LIFE)
        running.hear(TokenObject.COMPANION)
        world.secrets[COMPANION] = old
        assert running.hear(TokenObject.COMPANION).grant_stale


class TestCustodyThatOthersTouched:
    def test_a_deleted_companion_is_restored_at_once(self, running: Process) -> None:
        world = running.world
        before = companion(world)
        delete(world, COMPANION)
        running.hear(TokenObject.COMPANION)
        assert cost(world, running.visit) == (2, 1)
        assert companion(world) == before

    def test_a_companion_that_was_changed_is_put_right_and_never_goes_back(
        self, running: Process
    ) -> None:
        world = running.world
        spoilt = {**world.secrets[COMPANION].annotations, annotations.STATUS: "NeedsReauth"}
        world._store(replace(world.secrets[COMPANION], annotations=spoilt))
        running.hear(TokenObject.COMPANION)
        running.visit()
        assert companion(world).status is Status.READY
        ahead = {**world.secrets[COMPANION].annotations, annotations.GENERATION: "9"}
        world._store(replace(world.secrets[COMPANION], annotations=ahead))
        running.hear(TokenObject.COMPANION)
        running.visit()
        assert companion(world).generation == 9

    def test_a_deleted_grant_is_made_again_from_memory(self, running: Process) -> None:
        world = running.world
        world.immutable.add(REF)
        running.work(LIFE)
        assert (live(world), mirrored(world)) == ("alice-2", "alice-1")
        generation = grant(world).generation
        delete(world, GRANT)
        running.hear(TokenObject.GRANT)
        running.visit()
        assert live(world) == "alice-2"
        assert grant(world).generation == generation
        running.work(LIFE)
        assert presented_twice(world) == []
        assert live(world) == "alice-3"

    @pytest.mark.parametrize("text", ["no JSON", "reseeded for nobody"])
    def test_it_is_made_again_although_the_source_is_not_in_order(
        self, running: Process, text: str
    ) -> None:
        world = running.world
        if text != "no JSON":
            text = document("carol-0")
            running.issuer = replace(ISSUER, default=False)
        world.apply(text)
        delete(world, GRANT)
        running.hear(TokenObject.GRANT)
        running.visit()
        assert live(world) == "alice-1"

    def test_a_reseed_beats_the_memory_of_a_deleted_grant(self, running: Process) -> None:
        world = running.world
        before = grant(world).generation
        delete(world, GRANT)
        world.apply(document(world.server.login("bob")))
        running.hear(TokenObject.GRANT)
        running.visit()
        assert live(world) == mirrored(world) == "bob-1"
        assert grant(world).generation > before
        assert "alice-0" not in world.server.tokens()[1:]

    def test_a_memory_that_nodes_have_outrun_gives_way_to_the_source(
        self, running: Process
    ) -> None:
        """A peer has refreshed since; what this process remembers is spent."""
        world = running.world
        Process(world, holder="pod-2").work(0)
        peer = Process(world, holder="pod-2")
        peer.visit()
        peer.work(LIFE)
        delete(world, GRANT)
        running.hear(TokenObject.GRANT)
        running.visit()
        assert world.server.tokens() == ["alice-0", "alice-1", "alice-2"]
        assert live(world) == "alice-3"
        assert presented_twice(world) == []

    def test_a_companion_follows_what_was_made_again_from_behind_it(self, running: Process) -> None:
        world = running.world
        world.server.script += [answer(200, {"access_token": "b", "expires_in": LIFE})] * 2
        world.immutable.add(REF)
        peer = Process(world, holder="pod-2")
        peer.visit()
        peer.work(LIFE)
        before = companion(world).generation
        delete(world, GRANT)
        running.hear(TokenObject.GRANT)
        running.visit()
        assert companion(world).generation == grant(world).generation > before

    @pytest.mark.parametrize("same_generation", [False, True])
    def test_an_older_copy_of_a_grant_is_replaced_by_what_is_remembered(
        self, running: Process, *, same_generation: bool
    ) -> None:
        world = running.world
        backup = world.secrets[GRANT]
        running.work(LIFE)
        if same_generation:
            state = json.loads(backup.data["state"].reveal())
            state["generation"] = grant(world).generation
            data = {**backup.data, "state": Sensitive(json.dumps(state))}
            backup = replace(backup, data=data)
        world._store(backup)
        assert live(world) == "alice-1"
        running.hear(TokenObject.GRANT)
        running.visit()
        assert live(world) == "alice-2"
        running.work(LIFE)
        assert presented_twice(world) == []

    def test_a_grant_that_moved_on_is_taken_over(self, running: Process) -> None:
        world = running.world
        peer = Process(world, holder="pod-2")
        peer.visit()
        peer.work(LIFE)
        running.hear(TokenObject.GRANT)
        running.hear()
        running.visit()
        assert running.known.grant is not None
        assert running.known.grant.live_hash == grant(world).live_hash
        assert world.server.tokens() == ["alice-0", "alice-1"]

    def test_source_and_grant_deleted_by_hand_are_forgotten_in_ten_minutes(
        self, running: Process
    ) -> None:
        world = running.world
        for key in (SOURCE, GRANT, COMPANION):
            delete(world, key)
        running.hear(TokenObject.GRANT)
        running.visit(event=True)
        assert running.known.grant_missing_in_store
        running.work(601)
        assert running.known.grant is None
        assert world.secrets == {}

    def test_a_grant_damaged_during_the_exchange_is_mended_with_the_reply(
        self, process: Process
    ) -> None:
        world = process.world

        def damage() -> None:
            world._store(replace(world.secrets[GRANT], data={}))

        world.before = once(lambda e: isinstance(e, effects.RequestToken), damage)
        process.visit()
        assert live(world) == mirrored(world) == "alice-1"

    def test_without_a_reply_a_damaged_grant_is_left_as_it_is(self, running: Process) -> None:
        world = running.world
        world.server.families.clear()

        def damage() -> None:
            world._store(replace(world.secrets[GRANT], data={}))

        world.before = once(lambda e: isinstance(e, effects.RequestToken), damage)
        running.work(LIFE)
        assert note(world, annotations.STATUS) == "Invalid"
        assert world.secrets[GRANT].data == {}

    def test_an_outage_while_a_lost_grant_is_made_again_is_waited_out(
        self, process: Process
    ) -> None:
        world = process.world
        left = [StoreConflict("exists")]

        def before(effect: effects.Effect[object]) -> None:
            sent = any(isinstance(e, effects.RequestToken) for e in world.done)
            if sent and isinstance(effect, effects.CreateSecret) and left:
                raise left.pop()

        world.after = once(
            lambda e: isinstance(e, effects.RequestToken), lambda: delete(world, GRANT)
        )
        world.before = before
        process.visit()
        assert not left
        assert live(world) == "alice-1"


@pytest.mark.parametrize("edit", ["", "re-apply"])
@pytest.mark.parametrize("first", [True, False], ids=["adoption", "refresh"])
@pytest.mark.parametrize("count", range(1, 40))
def test_a_start_from_lists_after_any_crash_ends_in_order(
    count: int, edit: str, *, first: bool
) -> None:
    world = World()
    world.apply(document(world.server.login("alice")))
    process = Process(world)
    if not first:
        process.visit()
        world.now += LIFE - 600
    try:
        process.visit(crash_after=count)
    except Crashed:
        lost = isinstance(world.done[-1], effects.RequestToken)
    else:
        return
    if edit == "re-apply":
        world.apply(document("alice-0"))
    survivor = restart(process)
    survivor.visit()
    survivor.work(3 * LIFE)
    assert companion(world).status is (Status.LOST_ROTATION if lost else Status.READY)
    assert note(world, annotations.STATUS) == companion(world).status.value
    assert companion(world).generation == grant(world).generation
    if not lost:
        assert presented_twice(world) == []
        assert live(world) == mirrored(world) == world.server.families["alice"][-1]
        assert note(world, annotations.WARNING) == ""


def test_nothing_of_a_restored_token_shows_a_secret(running: Process) -> None:
    shown = repr(restart(running).known)
    assert "alice-1" not in shown
    assert "s3cret" not in shown


def test_a_grant_secret_says_whose_it_is(running: Process) -> None:
    stored: Secret = running.world.secrets[GRANT]
    assert grant_secret.from_secret(stored).ref == REF


class TestNamespaces:
    def test_nothing_is_sent_for_one_that_is_not_enrolled_and_nothing_is_deleted(
        self, running: Process
    ) -> None:
        world = running.world
        fresh = restart(running)
        fresh.namespaces = ("elsewhere",)
        assert cost(world, lambda: fresh.work(10 * LIFE)) == (0, 0)
        assert cost(world, lambda: fresh.visit(event=True)) == (0, 0)
        assert live(world) == "alice-1"
        again = restart(fresh)
        again.namespaces = ("elsewhere", REF.namespace)
        world.now += 10 * LIFE
        again.visit()
        assert live(world) == mirrored(world) == "alice-2"
        assert companion(world).status is Status.READY

    def test_an_exchange_that_was_begun_is_settled_all_the_same(self, running: Process) -> None:
        world = running.world

        die_with_a_reply(running)
        assert live(world) == "alice-1"
        fresh = restart(running)
        fresh.namespaces = ("elsewhere",)
        fresh.visit()
        assert live(world) == "alice-2"
        fresh.work(10 * LIFE)
        assert world.server.tokens() == ["alice-0", "alice-1"]


def die_with_a_reply(process: Process) -> None:
    """The process ends when its next reply lies in the spool and nowhere else."""

    def replied(effect: effects.Effect[object]) -> bool:
        return isinstance(effect, effects.SpoolWrite) and effect.entry.reply is not None

    process.world.after = once(replied, crash)
    process.world.now = process.known.next_reconcile or 0
    with pytest.raises(Crashed):
        process.visit()


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


class TestBackup:
    """The driver namespace comes back from a backup; what nodes and users see does not."""

    @pytest.mark.parametrize("cycles", [1, 3])
    def test_an_older_grant_gives_way_to_the_mirror(self, running: Process, cycles: int) -> None:
        world = running.world
        kept = world.secrets[GRANT]
        running.work(cycles * LIFE)
        latest = live(world)
        world._store(kept)
        fresh = restart(running)
        fresh.visit()
        assert presented_twice(world) == []
        assert live(world) == mirrored(world) != latest
        assert companion(world).generation == grant(world).generation
        assert companion(world).status is Status.READY


class TestClock:
    """A machine's clock was ahead while tokens were refreshed, and is set right."""

    @pytest.fixture
    def ahead(self, world: World) -> Process:
        world.offsets["pod-1"] = 7 * 86400.0
        process = Process(world)
        process.visit()
        world.offsets["pod-1"] = 0.0
        return process

    @pytest.mark.parametrize("again", [restart, lambda process: process])
    def test_a_token_from_the_future_is_refreshed_soon(
        self, ahead: Process, again: Callable[[Process], Process]
    ) -> None:
        world, process = ahead.world, again(ahead)
        process.visit()
        process.work(10.0)
        assert world.server.tokens() == ["alice-0", "alice-1"]
        assert companion(world).token.expires_at <= world.now + LIFE  # type: ignore[union-attr]

    def test_failures_keep_their_pace(self, ahead: Process) -> None:
        ahead.world.server.script.extend([Failure(FailureReason.FORBIDDEN)] * 3)
        ahead.visit()
        ahead.work(1000.0)
        assert len(ahead.world.server.presented) <= 1 + 4

    def test_the_difference_between_two_machines_is_no_reason(self, ahead: Process) -> None:
        ahead.world.offsets["pod-1"] = 7 * 86400.0 - 30.0
        ahead.visit()
        ahead.work(600.0)
        assert ahead.world.server.tokens() == ["alice-0"]


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
