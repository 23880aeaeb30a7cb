import itertools
from dataclasses import replace
from typing import Any

import pytest

from csidriver.core import annotations
from csidriver.core.kubernetes.change import TokenObject
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.issuers import Issuers
from csidriver.core.oauth.token_response import Failure, Success
from csidriver.core.refresh import effects
from csidriver.core.refresh.adopt import sync_from_source
from csidriver.core.refresh.companion_update import store_companion_and_mirror
from csidriver.core.refresh.effects import (
    Effect,
    PatchSecret,
    RequestToken,
    SpoolClear,
    SpoolEntry,
    SpoolWrite,
)
from csidriver.core.refresh.messages import UNCERTAIN_TWICE_MESSAGE
from csidriver.core.refresh.schedule import lead_time
from csidriver.core.refresh.state import RefreshContext, TokenState
from csidriver.core.sensitive import Sensitive
from csidriver.core.status import Status
from csidriver.errors import (
    SpoolFailed,
    StoreConflict,
    StoreRefused,
    StoreUnavailable,
)
from tests.core.refresh.assertions import (
    COMPANION,
    GRANT,
    LIFE,
    SOURCE,
    companion,
    crash,
    delete,
    document,
    fail_next,
    grant,
    is_commit,
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
    LOST_AFTER,
    LOST_BEFORE,
    REF,
    START,
    Crashed,
    Process,
    World,
    answer,
)


class TestTheQuietLife:
    def test_a_new_source_is_adopted_and_refreshed_at_once(self, running: Process) -> None:
        world = running.world
        assert world.server.tokens() == ["alice-0"]
        assert live(world) == mirrored(world) == "alice-1"
        assert grant(world).intent is None
        assert companion(world).status is Status.READY
        assert companion(world).source_uid == source(world).uid
        assert note(world, annotations.STATUS) == "Ready"
        assert world.spool == {}
        assert reasons(world) == ["Pending", "Ready"]

    def test_nodes_learn_the_reason_for_their_wait_before_the_first_exchange(
        self, process: Process
    ) -> None:
        seen: list[Status] = []
        process.world.before = lambda e: (
            seen.append(companion(process.world).status) if isinstance(e, RequestToken) else None
        )
        process.visit()
        assert seen == [Status.PENDING]
        assert companion(process.world).token is not None

    def test_companion_holds_the_access_token_and_nothing_that_renews(
        self, running: Process
    ) -> None:
        told = companion(running.world)
        assert told.token is not None
        assert told.token.value.reveal() == "at-alice-1"
        assert told.token.expires_at == START + LIFE
        keys = {"access_token", "token_type", "issued_at", "expires_at", "written_at"}
        assert set(running.world.secrets[COMPANION].data) == keys

    def test_the_mirror_keeps_unknown_fields_and_client_credentials(self, running: Process) -> None:
        data = source(running.world).data
        assert '"extra":1.5' in data["oauth"].reveal()
        assert data["clientID"].reveal() == "my-app"
        assert data["clientSecret"].reveal() == "s3cret"

    def test_the_schedule_is_followed_for_a_day(self, running: Process) -> None:
        running.work(86400)
        world = running.world
        assert presented_twice(world) == []
        assert 27 <= len(world.server.presented) <= 34
        times = [at for at, _ in world.server.presented]
        gaps = [b - a for a, b in itertools.pairwise(times)]
        assert max(gaps) <= LIFE - lead_time(LIFE)
        assert live(world) == mirrored(world) == world.server.families["alice"][-1]

    def test_a_visit_with_nothing_to_do_writes_nothing(self, running: Process) -> None:
        writes = running.world.writes
        running.visit(event=True)
        Process(running.world).visit()
        assert running.world.writes == writes

    def test_who_may_not_send_sends_nothing_and_does_not_spin(self, process: Process) -> None:
        process.world.may_send = False
        known = process.visit()
        assert known.next_reconcile == START + 1
        process.work(60)
        assert process.world.server.presented == []
        process.world.may_send = True
        process.work(2)
        assert process.world.server.tokens() == ["alice-0"]

    def test_what_is_no_source_is_left_alone(self) -> None:
        world = World()
        world.create(Secret(*SOURCE, data={"oauth": Sensitive(document("x"))}))
        assert Process(world).visit().next_reconcile is None
        assert world.writes == 2

    def test_without_a_source_there_is_nothing_to_adopt_or_to_tell(self, world: World) -> None:
        nothing, rules = TokenState(REF), RefreshContext(Issuers(), "pod-1")
        assert world.run(sync_from_source(nothing, rules)) == (nothing, None)
        assert world.run(store_companion_and_mirror(nothing, rules, None)) == nothing

    def test_a_process_whose_knowledge_has_a_hole_reads_everything_again(
        self, running: Process
    ) -> None:
        running.world.now += LIFE
        running.known = replace(running.known, grant_secret=None)
        assert running.visit().grant_stale
        running.work(1)
        assert live(running.world) == "alice-2"


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


class TestTheServerSaysNo:
    def test_invalid_grant_asks_for_a_login_and_keeps_everything(self, running: Process) -> None:
        world = running.world
        world.server.families.clear()
        running.work(LIFE)
        assert companion(world).status is Status.NEEDS_REAUTH
        assert note(world, annotations.STATUS) == "NeedsReauth"
        assert live(world) == mirrored(world) == "alice-1"
        assert companion(world).token is not None
        assert source(world).data["clientSecret"].reveal() == "s3cret"
        assert world.server.tokens() == ["alice-0", "alice-1", "alice-1"]
        (first, _), (second, _) = world.server.presented[1:]
        assert second - first == pytest.approx(300)
        running.work(10 * 86400)
        assert len(world.server.presented) == 3
        world.apply(document(world.server.login("bob")))
        running.visit(event=True)
        assert companion(world).status is Status.READY

    def test_a_false_invalid_grant_is_cleared_by_the_second_look(self, running: Process) -> None:
        world = running.world
        world.server.script.append(answer(400, {"error": "invalid_grant"}))
        running.work(LIFE)
        assert companion(world).status is Status.READY
        assert live(world) == "alice-2"

    def test_an_outage_before_it_does_not_cost_the_second_look(self, running: Process) -> None:
        world = running.world
        world.server.script += [Failure(FailureReason.UNREACHABLE)] * 3
        world.server.script.append(answer(400, {"error": "invalid_grant"}))
        running.work(LIFE)
        assert live(world) == "alice-2"

    def test_invalid_grant_finds_the_new_token_in_the_source(self, running: Process) -> None:
        """A human reseeded, and the event has not been seen yet."""
        world = running.world
        world.apply(document(world.server.login("bob")))
        world.server.families.pop("alice")
        running.work(LIFE)
        assert live(world) == "bob-1"

    def test_an_outage_is_retried_several_times_within_the_lead(self, running: Process) -> None:
        world = running.world
        world.server.script += [Failure(FailureReason.UNREACHABLE)] * 1000
        running.work(LIFE)
        attempts = [at for at, _ in world.server.presented[1:]]
        assert len(attempts) >= 3
        assert all(b - a >= 10 for a, b in itertools.pairwise(attempts))
        assert companion(world).status is Status.ISSUER_UNAVAILABLE
        world.server.script.clear()
        running.work(120)
        assert companion(world).status is Status.READY
        assert companion(world).token is not None

    def test_trouble_of_the_issuer_is_written_to_nobody_while_the_token_has_time(
        self, running: Process
    ) -> None:
        world = running.world
        world.server.script += [Failure(FailureReason.UNREACHABLE)] * 1000
        running.work(LIFE - lead_time(LIFE))
        before, told = len(world.server.presented), (source(world), companion(world))
        running.work(lead_time(LIFE) / 2 - 200)
        assert len(world.server.presented) > before + 1
        assert (source(world), companion(world)) == told
        running.work(400)
        assert companion(world).status is Status.ISSUER_UNAVAILABLE
        assert note(world, annotations.STATUS) == "IssuerUnavailable"
        running.work(200)
        assert companion(world).next_refresh == int(grant(world).next_refresh or 0)

    def test_what_begins_and_ends_trouble_of_the_issuer_is_marked(self, running: Process) -> None:
        world = running.world
        world.server.script += [Failure(FailureReason.UNREACHABLE)] * 60
        running.work(LIFE - 20)
        world.server.script.clear()
        running.work(LIFE)
        world.server.script.append(answer(400, {"error": "invalid_grant"}))
        running.work(LIFE)
        told = [e for e in world.done if isinstance(e, effects.EmitEvent)]
        marked = [report.reason for report in told if report.of_issuer]
        assert marked == ["IssuerUnavailable", "Ready"]
        assert [report.reason for report in told][-2:] == ["NeedsReauth", "Ready"]

    def test_corrected_client_credentials_are_tried_at_once(self, running: Process) -> None:
        world = running.world
        refused = answer(401, {"error": "invalid_client"})
        world.server.script += [refused] * 100
        running.work(3 * LIFE)
        assert companion(world).status is Status.CLIENT_REJECTED
        assert len(world.server.presented) < 10
        world.server.script.clear()
        world.apply(document(live(world)), clientSecret="better")
        running.visit(event=True)
        running.work(11)
        assert companion(world).status is Status.READY
        sent = [e for e in world.done if isinstance(e, RequestToken)]
        assert sent[-1].client.client_secret == Sensitive("better")

    def test_a_login_that_is_required_stops_the_attempts(self, running: Process) -> None:
        world = running.world
        world.server.script.append(answer(400, {"error": "login_required"}))
        running.work(10 * 86400)
        assert len(world.server.presented) == 2
        assert companion(world).status is Status.NEEDS_REAUTH

    def test_a_new_refresh_token_is_kept_whatever_is_wrong_with_the_rest(
        self, running: Process
    ) -> None:
        world = running.world
        world.server.script.append(
            answer(200, {"refresh_token": "x", "access_token": "dpop", "token_type": "DPoP"})
        )
        running.work(LIFE - 60)
        assert live(world) == mirrored(world) == "x"
        told = companion(world)
        assert told.status is Status.MISCONFIGURED
        assert told.token is not None
        assert told.token.value.reveal() == "at-alice-1"


class TestUncertain:
    def expiry_less_a_quarter_lead(self) -> float:
        return START + LIFE - lead_time(LIFE) / 4

    def test_strict_presents_once_more_and_late(self, running: Process) -> None:
        world = running.world
        world.server.script.append(LOST_BEFORE)
        running.work(LIFE - lead_time(LIFE))
        assert companion(world).status is Status.UNCERTAIN
        assert note(world, annotations.STATUS) == "Uncertain"
        assert len(world.server.presented) == 2
        running.work(LIFE)
        at, token = world.server.presented[2]
        assert token == "alice-1"
        assert at == pytest.approx(self.expiry_less_a_quarter_lead())
        assert companion(world).status is Status.READY

    def test_strict_and_really_lost_ends_in_lost_rotation(self, running: Process) -> None:
        world = running.world
        world.server.script.append(LOST_AFTER)
        running.work(10 * LIFE)
        assert world.server.tokens() == ["alice-0", "alice-1", "alice-1"]
        assert companion(world).status is Status.LOST_ROTATION
        assert reasons(world)[-2:] == ["Uncertain", "LostRotation"]
        world.apply(document(world.server.login("bob")))
        running.visit(event=True)
        assert companion(world).status is Status.READY

    def test_strict_and_unknown_twice_is_never_presented_again(self, running: Process) -> None:
        world = running.world
        world.server.script += [LOST_BEFORE, LOST_BEFORE]
        running.work(10 * LIFE)
        assert world.server.tokens() == ["alice-0", "alice-1", "alice-1"]
        assert companion(world).status is Status.UNCERTAIN

    def test_an_attempt_that_proves_nothing_does_not_use_up_the_last_one(
        self, running: Process
    ) -> None:
        world = running.world
        world.server.script += [
            LOST_BEFORE,
            Failure(FailureReason.UNREACHABLE),
            Failure(FailureReason.UNREACHABLE),
        ]
        running.work(LIFE)
        assert companion(world).status is Status.READY
        assert live(world) == "alice-2"

    def test_a_window_allows_two_repetitions_one_and_three_seconds_later(
        self, running: Process
    ) -> None:
        world, running.issuer = running.world, replace(ISSUER, reuse=60.0)
        world.server.window = 60
        world.server.script += [LOST_AFTER, LOST_BEFORE]
        running.work(LIFE)
        times = [at for at, _ in world.server.presented[1:]]
        assert [at - times[0] for at in times[:3]] == pytest.approx([0, 1, 4])
        assert companion(world).status is Status.READY
        assert live(world) == "alice-2"

    @pytest.mark.parametrize(("window", "repetitions"), [(60.0, 2), (3.5, 1)])
    def test_a_window_bounds_the_repetitions(
        self, running: Process, window: float, repetitions: int
    ) -> None:
        world, running.issuer = running.world, replace(ISSUER, reuse=window)
        world.server.script += [LOST_BEFORE] * 10
        running.work(10 * LIFE)
        assert len(world.server.presented) == 2 + repetitions
        assert companion(world).status is Status.UNCERTAIN

    def test_a_window_that_has_closed_leaves_the_one_late_try_of_a_strict_server(
        self, running: Process
    ) -> None:
        world, running.issuer = running.world, replace(ISSUER, reuse=0.5)
        world.server.script += [LOST_BEFORE] * 10
        running.work(10 * LIFE)
        _, first, late = (at for at, _ in world.server.presented)
        assert late - first > 60
        assert companion(world).status is Status.UNCERTAIN
        assert companion(world).message == UNCERTAIN_TWICE_MESSAGE

    def test_a_server_that_never_rotates_is_simply_asked_again(self, running: Process) -> None:
        world, running.issuer = running.world, replace(ISSUER, reuse=float("inf"))
        world.server.script += [LOST_BEFORE] * 3
        running.work(LIFE)
        assert companion(world).status is Status.READY
        assert "Uncertain" not in reasons(world)

    def test_a_reseed_settles_it_at_once(self, running: Process) -> None:
        world = running.world
        world.server.script.append(LOST_AFTER)
        running.work(LIFE - lead_time(LIFE))
        assert world.spool != {}
        world.apply(document(world.server.login("bob")))
        world.may_send = False
        running.visit(event=True)
        assert world.spool == {}
        world.may_send = True
        running.work(1)
        assert companion(world).status is Status.READY
        assert world.server.tokens() == ["alice-0", "alice-1", "bob-0"]
        assert world.spool == {}


class TestConflictsAndOutages:
    def test_a_foreign_write_at_commit_is_rebased_and_the_reply_kept(
        self, process: Process
    ) -> None:
        world = process.world

        def label() -> None:
            world._store(world.secrets[GRANT])

        world.before = once(is_commit, label)
        process.visit()
        assert live(world) == mirrored(world) == "alice-1"
        assert companion(world).status is Status.READY

    def test_a_commit_that_arrived_although_it_failed_is_recognised(self, process: Process) -> None:
        world = process.world

        def fail() -> None:
            raise StoreUnavailable("connection reset")

        world.after = once(is_commit, fail)
        process.visit()
        process.work(1)
        assert live(world) == mirrored(world) == "alice-1"
        assert world.spool == {}
        assert world.server.tokens() == ["alice-0"]

    @pytest.mark.parametrize("times", [1, 7, 100])
    def test_an_outage_during_commit_is_waited_out(self, process: Process, times: int) -> None:
        world = process.world
        left = times

        def before(effect: Effect[Any]) -> None:
            nonlocal left
            if left and is_commit(effect):
                left -= 1
                raise StoreUnavailable("down")

        world.before = before
        process.visit()
        assert live(world) == mirrored(world) == "alice-1"
        waits = [e.seconds for e in world.done if isinstance(e, effects.Wait)]
        assert len(waits) == times
        assert max(waits) <= 5

    def test_an_outage_between_conflict_and_reading_is_waited_out(self, process: Process) -> None:
        world = process.world
        left = [StoreConflict("moved"), StoreUnavailable("down")]

        def before(effect: Effect[Any]) -> None:
            reading = isinstance(effect, effects.GetSecret)
            if left and (is_commit(effect) or (len(left) == 1 and reading)):
                raise left.pop(0)

        world.before = before
        process.visit()
        assert live(world) == "alice-1"

    def test_a_grant_deleted_during_the_exchange_is_made_again_with_the_reply(
        self, process: Process
    ) -> None:
        world = process.world
        world.before = once(is_commit, lambda: delete(world, GRANT))
        process.visit()
        assert live(world) == "alice-1"
        process.work(LIFE)
        assert world.server.tokens() == ["alice-0", "alice-1"]
        assert companion(world).status is Status.READY

    def test_a_refused_mirror_and_then_a_broken_edit_is_no_hot_loop(self, process: Process) -> None:
        world = process.world
        world.immutable.add(REF)
        process.visit()
        assert note(world, annotations.WARNING) == "MirrorRefused"
        world.apply("no JSON")
        process.visit(event=True)
        process.work(3 * LIFE)
        assert note(world, annotations.STATUS) == "Invalid"
        assert companion(world).status is Status.READY

    def test_a_conflict_at_the_intent_sends_nothing(self, process: Process) -> None:
        world = process.world
        fail_next(world, PatchSecret, StoreConflict("moved"), on="grant-")
        process.visit()
        assert world.server.presented == []
        process.work(1)
        assert world.server.tokens() == ["alice-0"]

    def test_an_outage_at_the_intent_sends_nothing(self, process: Process) -> None:
        fail_next(process.world, PatchSecret, StoreUnavailable("down"), on="grant-")
        with pytest.raises(StoreUnavailable):
            process.visit()
        assert process.world.server.presented == []

    def test_a_process_that_stood_still_after_its_intent_announces_again(
        self, process: Process
    ) -> None:
        world = process.world

        def freeze() -> None:
            world.now += 30

        world.before = once(lambda e: isinstance(e, SpoolWrite), freeze)
        process.visit()
        assert world.server.presented == []
        process.work(1)
        assert world.server.tokens() == ["alice-0"]
        assert companion(world).status is Status.READY

    def test_a_spool_that_cannot_keep_the_reply_does_not_stop_the_commit(
        self, process: Process
    ) -> None:
        world = process.world

        def before(effect: Effect[Any]) -> None:
            if isinstance(effect, SpoolWrite) and effect.entry.reply is not None:
                raise SpoolFailed("full")

        world.before = before
        process.visit()
        assert live(world) == mirrored(world) == "alice-1"

    def test_a_spool_that_cannot_be_cleared_does_not_hide_a_refusal(self, running: Process) -> None:
        world = running.world
        world.server.families.clear()
        fail_next(world, SpoolClear, SpoolFailed("read-only"))
        running.work(LIFE)
        assert companion(world).status is Status.NEEDS_REAUTH

    def test_a_spool_that_cannot_take_the_nonce_sends_nothing(self, process: Process) -> None:
        fail_next(process.world, SpoolWrite, SpoolFailed("full"))
        with pytest.raises(SpoolFailed):
            process.visit()
        assert process.world.server.presented == []

    def test_two_processes_present_a_token_once(self, world: World) -> None:
        first, second = Process(world), Process(world, holder="pod-2")
        world.may_send = False
        first.visit()
        second.visit()
        world.may_send = True
        world.before = once(lambda e: isinstance(e, RequestToken), second.visit)
        first.work(1)
        assert world.server.tokens() == ["alice-0"]
        assert "Uncertain" not in reasons(world)
        second.work(200)
        assert world.server.tokens() == ["alice-0"]
        assert live(world) == "alice-1"

    def test_an_intent_in_flight_is_waited_for(self, world: World) -> None:
        first, peer = Process(world), Process(world, holder="pod-2")
        world.before = once(lambda e: isinstance(e, RequestToken), peer.visit)
        first.visit()
        assert peer.known.next_reconcile == START + 60
        assert "Uncertain" not in reasons(world)
        peer.work(LIFE)
        assert world.server.tokens() == ["alice-0", "alice-1"]
        assert live(world) == mirrored(world) == "alice-2"

    def test_a_frozen_process_stores_its_reply_although_a_peer_took_over(
        self, world: World
    ) -> None:
        """The peer is about to present the same token; the reply in hand is worth more."""
        frozen, peer = Process(world), Process(world, holder="pod-2")

        def take_over() -> None:
            world.now += 200
            peer.visit()
            world.after = once(lambda e: isinstance(e, SpoolWrite), crash)
            with pytest.raises(Crashed):
                peer.work(LIFE)

        world.before = once(is_commit, take_over)
        frozen.visit()
        assert live(world) == "alice-1"

    def test_a_peer_that_exchanged_the_same_token_wins(self, running: Process) -> None:
        """On a server with a grace window both get the same token."""
        world = running.world
        frozen = replace(ISSUER, reuse=1e6)
        running.issuer = frozen
        peer = Process(world, holder="pod-2", issuer=frozen)
        world.server.window = 1e6

        def take_over() -> None:
            world.now += 200
            peer.visit()
            peer.work(10)

        world.before = once(is_commit, take_over)
        running.work(LIFE)
        assert live(world) == mirrored(world) == "alice-2"
        assert grant(world).generation == 3
        running.work(LIFE)
        assert world.spool == {}
        assert live(world) == "alice-3"

    def test_where_the_server_forks_the_reply_that_lost_stays_in_the_spool(
        self, running: Process
    ) -> None:
        world = running.world
        running.issuer = replace(ISSUER, reuse=1e6)
        peer = Process(world, holder="pod-2", issuer=running.issuer)
        for token in ("mine", "theirs"):
            world.server.script.append(answer(200, {"refresh_token": token, "access_token": "a"}))

        def take_over() -> None:
            world.now += 200
            peer.visit()
            peer.work(10)

        world.before = once(is_commit, take_over)
        running.work(LIFE - lead_time(LIFE))
        assert live(world) == mirrored(world) == "theirs"
        running.work(1)
        kept = world.spool[REF].reply
        assert kept is not None
        assert kept.refresh_token == Sensitive("mine")


class TestMirrorAndCompanion:
    def test_a_refused_mirror_is_a_warning_and_the_token_keeps_rotating(
        self, process: Process
    ) -> None:
        world = process.world
        world.immutable.add(REF)
        process.visit()
        assert note(world, annotations.WARNING) == "MirrorRefused"
        assert note(world, annotations.STATUS) == "Ready"
        assert reasons(world) == ["Pending", "Ready", "MirrorRefused"]
        process.work(2 * LIFE)
        assert mirrored(world) == "alice-0"
        assert live(world) != "alice-1"
        assert companion(world).generation == grant(world).generation
        world.immutable.clear()
        process.work(601)
        assert mirrored(world) == live(world)
        assert note(world, annotations.WARNING) == ""
        assert presented_twice(world) == []

    def test_a_mirror_too_large_to_be_read_back_is_not_written(self, running: Process) -> None:
        """Our own mirror must never make its source Invalid."""
        world = running.world
        large = {"refresh_token": "big", "access_token": "a", "expires_in": LIFE, "x": "y" * 2**18}
        world.server.script.append(answer(200, large))
        world.server.families["big"] = ["big"]
        running.work(LIFE)
        assert live(world) == "big"
        assert mirrored(world) == "alice-1"
        assert note(world, annotations.WARNING) == "MirrorRefused"
        assert note(world, annotations.STATUS) == "Ready"
        Process(world).visit()
        assert live(world) == "big"
        assert note(world, annotations.STATUS) == "Ready"

    def test_whoever_restored_an_old_seed_is_named(self, running: Process) -> None:
        world = running.world
        stored = world.apply(document("alice-0"))
        world._store(replace(stored, manager="argocd-controller"))
        running.visit(event=True)
        told = [e for e in world.done if isinstance(e, effects.EmitEvent)][-1]
        assert told.reason == "OldSeedRestored"
        assert "'argocd-controller'" in told.message

    def test_a_backend_that_does_not_say_who_did_it_names_nobody(self, running: Process) -> None:
        world = running.world
        world._store(replace(world.apply(document("alice-0")), manager=""))
        running.visit(event=True)
        told = [e for e in world.done if isinstance(e, effects.EmitEvent)][-1]
        assert "written by" not in told.message

    def test_a_source_that_refuses_even_annotations_stops_nothing(self, process: Process) -> None:
        world = process.world
        fail_next(world, PatchSecret, StoreRefused("policy"), times=10**6, on=REF.name)
        process.visit()
        process.work(2 * LIFE)
        assert len(world.server.families["alice"]) > 2
        assert companion(world).status is Status.READY
        assert reasons(world) == ["MirrorRefused"], (
            "an Event is all that is left, and one is enough"
        )

    def test_an_event_is_not_repeated_when_the_write_has_to_be(self, process: Process) -> None:
        world = process.world
        fail_next(world, PatchSecret, StoreConflict("moved"), times=3, on=REF.name)
        process.visit()
        process.work(10)
        assert reasons(world).count("Pending") <= 1
        assert reasons(world).count("Ready") == 1

    @pytest.mark.parametrize(
        "foreign",
        [
            pytest.param(Secret(*COMPANION, data={"mine": Sensitive("x")}), id="another type"),
            pytest.param(
                Secret(
                    *COMPANION,
                    type=annotations.COMPANION_TYPE,
                    annotations={
                        annotations.SOURCE_NAMESPACE: "other",
                        annotations.SOURCE_NAME: "source",
                        annotations.SOURCE_UID: "u",
                        annotations.GENERATION: "1",
                        annotations.STATUS: "Ready",
                    },
                ),
                id="another source",
            ),
        ],
    )
    def test_a_foreign_object_under_the_companions_name_is_never_touched(
        self, world: World, foreign: Secret
    ) -> None:
        stored = world.create(foreign)
        process = Process(world)
        process.visit()
        assert note(world, annotations.STATUS) == "Misconfigured"
        process.work(2 * LIFE)
        assert mirrored(world) == live(world)
        delete(world, SOURCE)
        process.visit(event=True)
        process.work(1000)
        assert world.secrets == {COMPANION: stored}
        world.apply(document(world.server.login("bob")))
        delete(world, COMPANION)
        Process(world).visit()
        assert companion(world).status is Status.READY

    def test_a_deleted_companion_is_restored_by_a_fresh_look(self, running: Process) -> None:
        world = running.world
        before = companion(world)
        delete(world, COMPANION)
        Process(world).visit()
        assert companion(world).generation == before.generation

    def test_a_companion_never_goes_back(self, running: Process) -> None:
        world = running.world
        ahead = {**world.secrets[COMPANION].annotations, annotations.GENERATION: "9"}
        world.secrets[COMPANION] = replace(world.secrets[COMPANION], annotations=ahead)
        Process(world).visit()
        assert companion(world).generation == 9


EFFECTS_OF_A_REFRESH = 40


class TestCrashes:
    @pytest.mark.parametrize("spool_survives", [True, False], ids=["container", "pod"])
    @pytest.mark.parametrize("first", [True, False], ids=["adoption", "refresh"])
    @pytest.mark.parametrize("count", range(1, EFFECTS_OF_A_REFRESH))
    def test_a_crash_after_any_effect_presents_nothing_twice(
        self, count: int, *, first: bool, spool_survives: bool
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
            last = world.done[-1]
        else:
            return
        intent = grant(world).intent if GRANT in world.secrets else None
        in_flight = intent is not None and not isinstance(last, PatchSecret)
        sent = any(isinstance(e, RequestToken) for e in world.done[-2:])
        if not spool_survives:
            world.spool.clear()
        survivor = Process(world, holder="pod-1" if spool_survives else "pod-2")
        survivor.visit()
        uncertain = isinstance(last, RequestToken) or (sent and not spool_survives and in_flight)
        survivor.work(3 * LIFE)
        if uncertain:
            assert "Uncertain" in reasons(world)
            assert companion(world).status is Status.LOST_ROTATION
        else:
            assert presented_twice(world) == []
            assert companion(world).status is Status.READY
            assert live(world) == mirrored(world) == world.server.families["alice"][-1]
            assert companion(world).generation == grant(world).generation

    def test_the_crashes_above_cover_every_effect(self) -> None:
        world = World()
        world.apply(document(world.server.login("alice")))
        Process(world).visit()
        assert len(world.done) < EFFECTS_OF_A_REFRESH

    @pytest.mark.parametrize("count", range(1, 30))
    def test_a_crash_in_the_last_attempt_allows_no_further_one(self, count: int) -> None:
        """Strict and uncertain: the second presentation is the last, whatever happens to it."""
        world = World()
        world.apply(document(world.server.login("alice")))
        process = Process(world)
        process.visit()
        world.server.script.append(LOST_BEFORE)
        process.work(LIFE - lead_time(LIFE))
        assert world.server.tokens() == ["alice-0", "alice-1"]
        assert process.known.next_reconcile is not None
        world.now = process.known.next_reconcile
        try:
            process.visit(crash_after=count)
        except Crashed:
            pass
        else:
            return
        for holder in ("pod-1", "pod-2"):
            survivor = Process(world, holder=holder)
            survivor.visit()
            survivor.work(500)
        assert world.server.tokens().count("alice-1") <= 2
        wanted = Status.READY if live(world) == "alice-2" else Status.UNCERTAIN
        assert companion(world).status is wanted

    def test_a_second_attempt_in_flight_is_not_taken_over_early(self, running: Process) -> None:
        """The age of an intent counts from this attempt, not from the first one long ago."""
        world = running.world
        world.server.script.append(LOST_BEFORE)
        running.work(LIFE - lead_time(LIFE))
        assert running.known.next_reconcile is not None
        world.now = running.known.next_reconcile
        peer = Process(world, holder="pod-2")
        world.before = once(lambda e: isinstance(e, RequestToken), peer.visit)
        running.visit()
        assert world.server.tokens() == ["alice-0", "alice-1", "alice-1"]
        assert live(world) == "alice-2"

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
