"""The state of a token at a start from lists, and after watch events."""

import json
from dataclasses import replace

import pytest

from csidriver.core import annotations, names
from csidriver.core.kubernetes.change import SecretChange, TokenObject
from csidriver.core.refresh import effects
from csidriver.core.refresh.state import TokenState
from csidriver.core.sensitive import Sensitive
from csidriver.core.status import Status
from csidriver.errors import StoreConflict
from tests.core.refresh.assertions import (
    COMPANION,
    GRANT,
    LIFE,
    SOURCE,
    companion,
    cost,
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
    restart,
    source,
)
from tests.core.refresh.world import ISSUER, REF, Crashed, Process, World, answer


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
