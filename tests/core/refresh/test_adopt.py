"""Users who put in, replace, restore, break and delete a source (docs/protocol.md 2, 3)."""

from dataclasses import replace
from typing import Any

import pytest

from csidriver.core import annotations
from csidriver.core.kubernetes.change import TokenObject
from csidriver.core.refresh.effects import (
    RequestToken,
)
from csidriver.core.sensitive import Sensitive
from csidriver.core.status import Status
from tests.core.refresh.assertions import (
    COMPANION,
    GRANT,
    LIFE,
    SOURCE,
    companion,
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
from tests.core.refresh.world import (
    ISSUER,
    Process,
    World,
)


class TestUsers:
    def test_a_reapplied_manifest_presents_nothing_twice_and_is_mirrored_again(
        self, running: Process
    ) -> None:
        world = running.world
        world.apply(document("alice-0"))
        running.visit(event=True)
        assert live(world) == "alice-1"
        assert note(world, annotations.WARNING) == "OldSeedRestored"
        assert mirrored(world) == "alice-0"
        running.work(LIFE)
        assert mirrored(world) == live(world) == "alice-2"
        assert note(world, annotations.WARNING) == ""
        assert world.server.tokens() == ["alice-0", "alice-1"]

    def test_a_gitops_loop_is_not_fought(self, running: Process) -> None:
        world = running.world
        for _ in range(20):
            world.apply(document("alice-0"))
            running.visit(event=True)
        assert reasons(world).count("OldSeedRestored") == 1
        assert mirrored(world) == "alice-0"

    def test_a_restart_with_a_current_mirror_does_not_fight_either(self, running: Process) -> None:
        world = running.world
        fresh = Process(world)
        fresh.visit()
        world.apply(document("alice-0"))
        fresh.visit(event=True)
        assert mirrored(world) == "alice-0"
        assert live(world) == "alice-1"

    def test_a_recreated_source_is_the_same_grant(self, running: Process) -> None:
        world = running.world
        delete(world, SOURCE)
        running.visit(event=True)
        recreated = world.apply(document("alice-0"))
        running.visit(event=True)
        assert live(world) == "alice-1"
        assert companion(world).source_uid == recreated.uid
        assert note(world, annotations.WARNING) == "OldSeedRestored"
        running.work(LIFE)
        assert mirrored(world) == "alice-2"
        assert presented_twice(world) == []

    def test_a_reseed_replaces_the_running_grant(self, running: Process) -> None:
        world = running.world
        before = grant(world).generation
        world.apply(document(world.server.login("bob")))
        running.visit(event=True)
        assert live(world) == mirrored(world) == "bob-1"
        assert grant(world).generation > before
        assert companion(world).generation == grant(world).generation
        assert world.server.tokens() == ["alice-0", "bob-0"]
        world.apply(document("alice-1"))
        running.visit(event=True)
        assert live(world) == "bob-1"

    def test_a_reseed_takes_the_old_access_token_from_the_nodes(self, running: Process) -> None:
        world = running.world
        world.may_send = False
        world.apply(document(world.server.login("bob")))
        running.visit(event=True)
        assert companion(world).status is Status.PENDING
        assert companion(world).token is None

    def test_a_reseed_during_the_exchange_wins(self, process: Process) -> None:
        world = process.world
        other = Process(world, holder="pod-2")

        def reseed() -> None:
            world.apply(document(world.server.login("bob")))
            world.may_send = False
            other.visit()
            world.may_send = True

        world.before = once(lambda e: isinstance(e, RequestToken), reseed)
        process.visit()
        assert live(world) == mirrored(world) == "bob-0"
        process.work(1)
        assert live(world) == mirrored(world) == "bob-1"
        assert presented_twice(world) == []

    @pytest.mark.parametrize(
        ("broken", "client"),
        [
            pytest.param("{", "my-app", id="no json"),
            pytest.param('{"access_token": "a"}', "my-app", id="no refresh token"),
            pytest.param(document("alice-0"), " ", id="no client"),
        ],
    )
    def test_an_invalid_new_source_says_so_and_is_adopted_when_mended(
        self, broken: str, client: str
    ) -> None:
        world = World()
        seed = document(world.server.login("alice"))
        world.apply(broken, clientID=client)
        process = Process(world)
        assert process.visit().next_reconcile is None
        assert companion(world).status is Status.INVALID
        assert note(world, annotations.STATUS) == "Invalid"
        assert GRANT not in world.secrets
        world.apply(seed)
        process.visit(event=True)
        assert companion(world).status is Status.READY

    def test_a_broken_edit_stops_no_working_grant_and_is_not_overwritten(
        self, running: Process
    ) -> None:
        world = running.world
        broken = '{"refresh_token": "bob-0",'
        world.apply(broken)
        running.visit(event=True)
        assert note(world, annotations.STATUS) == "Invalid"
        assert companion(world).status is Status.READY
        running.work(LIFE)
        assert live(world) == "alice-2"
        assert companion(world).generation == grant(world).generation
        assert source(world).data["oauth"].reveal() == broken
        world.apply(document(world.server.login("bob")))
        running.visit(event=True)
        assert live(world) == mirrored(world) == "bob-1"

    def test_a_reseed_for_no_issuer_is_told_and_the_old_grant_goes_on(
        self, running: Process
    ) -> None:
        world = running.world
        world.apply(document("carol-0"))
        running.issuer = replace(ISSUER, default=False)
        running.visit(event=True)
        assert note(world, annotations.STATUS) == "Misconfigured"
        running.work(LIFE)
        assert world.server.tokens() == ["alice-0", "alice-1"]
        assert mirrored(world) == "carol-0"

    def test_a_new_source_without_issuer_is_misconfigured(self, process: Process) -> None:
        process.issuer = replace(ISSUER, default=False)
        assert process.visit().next_reconcile is None
        assert companion(process.world).status is Status.MISCONFIGURED
        assert process.world.server.presented == []

    @pytest.mark.parametrize(
        ("annotation", "issuer"),
        [
            pytest.param("elsewhere", ISSUER, id="annotation changed"),
            pytest.param("", replace(ISSUER, issuer="https://evil.example"), id="another server"),
            pytest.param("", replace(ISSUER, name="renamed"), id="issuer gone"),
            pytest.param("", replace(ISSUER, namespaces=("other",)), id="namespace closed"),
        ],
    )
    def test_a_token_goes_only_to_the_issuer_it_was_adopted_with(
        self, running: Process, annotation: str, issuer: Any
    ) -> None:
        world = running.world
        world.apply(document("alice-1"), issuer=annotation)
        running.issuer = issuer
        assert running.visit(event=True).next_reconcile is None
        world.now += LIFE
        running.visit(event=True)
        assert world.server.tokens() == ["alice-0"]
        assert note(world, annotations.STATUS) == "Misconfigured"
        assert companion(world).status is Status.MISCONFIGURED
        assert companion(world).token is not None
        running.issuer = ISSUER
        world.apply(document("alice-1"), issuer="cern")
        running.visit(event=True)
        assert companion(world).status is Status.READY
        assert live(world) == "alice-2"

    def test_a_deleted_source_is_forgotten_after_ten_minutes(self, running: Process) -> None:
        world = running.world
        delete(world, SOURCE)
        running.visit(event=True)
        running.work(599)
        assert {GRANT, COMPANION} <= set(world.secrets)
        running.work(2)
        assert world.secrets == {}
        assert running.known.next_reconcile is None
        assert world.server.tokens() == ["alice-0"]

    def test_a_source_that_returned_unnoticed_is_not_forgotten(self, running: Process) -> None:
        world = running.world
        delete(world, SOURCE)
        running.visit(event=True)
        world.apply(document("alice-0"))
        running.work(LIFE)
        assert live(world) == "alice-2"

    def test_the_ten_minutes_count_from_the_last_departure(self, running: Process) -> None:
        world = running.world
        for _ in range(2):
            delete(world, SOURCE)
            running.visit(event=True)
            running.work(500)
            world.apply(document("alice-0"))
            running.visit(event=True)
        assert live(world) == "alice-1"

    def test_a_new_source_of_the_name_after_that_starts_anew(self, running: Process) -> None:
        world = running.world
        delete(world, SOURCE)
        running.visit(event=True)
        running.work(601)
        world.apply(document(world.server.login("bob")))
        running.visit(event=True)
        assert live(world) == "bob-1"

    def test_a_lost_grant_is_adopted_from_the_mirror_with_a_higher_generation(
        self, running: Process
    ) -> None:
        world = running.world
        delete(world, GRANT)
        before = companion(world).generation
        Process(world).visit()
        assert live(world) == "alice-2"
        assert companion(world).generation > before

    def test_a_grant_that_cannot_be_read_is_neither_used_nor_overwritten(
        self, running: Process
    ) -> None:
        world = running.world
        damaged = replace(world.secrets[GRANT], data={})
        world.secrets[GRANT] = damaged
        process = Process(world)
        process.visit()
        assert world.secrets[GRANT] is damaged
        assert world.server.tokens() == ["alice-0"]
        self.is_told(world, "restore it from a backup")
        assert process.known.next_reconcile is None

    def is_told(self, world: World, cure: str) -> None:
        """Source and companion say what is wrong, by name, and nodes keep their token."""
        message = note(world, annotations.MESSAGE)
        assert note(world, annotations.STATUS) == "Invalid"
        assert "/".join(GRANT) in message
        assert cure in message
        assert companion(world).status is Status.INVALID
        assert companion(world).message == message
        token = companion(world).token
        assert token is not None
        assert token.value.reveal() == "at-alice-1"

    def test_a_grant_that_is_damaged_while_it_is_remembered_goes_on_once_restored(
        self, running: Process
    ) -> None:
        world = running.world
        stored = world.secrets[GRANT]
        world.secrets[GRANT] = replace(stored, data={}, resource_version="damaged")
        running.hear(TokenObject.GRANT)
        running.visit()
        self.is_told(world, "restore it from a backup")
        running.work(2 * LIFE)
        assert world.server.tokens() == ["alice-0"]
        world.secrets[GRANT] = replace(stored, resource_version="restored")
        running.hear(TokenObject.GRANT)
        running.visit()
        assert note(world, annotations.STATUS) == "Ready"
        assert live(world) == "alice-2"

    def test_a_damaged_grant_that_is_deleted_is_made_again_from_memory(
        self, running: Process
    ) -> None:
        world = running.world
        world.secrets[GRANT] = replace(world.secrets[GRANT], data={}, resource_version="damaged")
        running.hear(TokenObject.GRANT)
        running.visit()
        delete(world, GRANT)
        running.hear(TokenObject.GRANT)
        running.visit(event=True)
        assert live(world) == "alice-1"
        assert note(world, annotations.STATUS) == "Ready"

    @pytest.mark.parametrize("text", ["{}", '{"refresh_token": "alice-0"}'])
    def test_a_grant_without_a_token_that_may_be_sent_is_told_and_mended_by_a_login(
        self, running: Process, text: str
    ) -> None:
        world = running.world
        stored = world.secrets[GRANT]
        world.secrets[GRANT] = replace(stored, data={**stored.data, "document": Sensitive(text)})
        world.now += LIFE
        world.apply(document("alice-0"))
        process = Process(world)
        process.visit()
        assert world.server.tokens() == ["alice-0"]
        self.is_told(world, "log in again")
        world.apply(document(world.server.login("bob")))
        process.visit(event=True)
        assert live(world) == "bob-1"
        assert note(world, annotations.STATUS) == "Ready"
