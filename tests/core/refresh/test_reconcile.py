import itertools
from dataclasses import replace
from typing import Any

import pytest

from csidriver.core import annotations
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.issuers import Issuers
from csidriver.core.oauth.token_response import Failure
from csidriver.core.refresh import effects
from csidriver.core.refresh.adopt import sync_from_source
from csidriver.core.refresh.companion_update import store_companion_and_mirror
from csidriver.core.refresh.effects import (
    Effect,
    PatchSecret,
    RequestToken,
    SpoolClear,
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
    StoreUnavailable,
)
from tests.core.refresh.assertions import (
    COMPANION,
    GRANT,
    LIFE,
    SOURCE,
    companion,
    document,
    fail_next,
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
