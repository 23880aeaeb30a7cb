import itertools
from dataclasses import replace
from typing import Any

import pytest

from csidriver.core import annotations
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.login_command import ask_for_login
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.issuers import Issuers
from csidriver.core.oauth.token_document import TokenDocument
from csidriver.core.oauth.token_response import Failure
from csidriver.core.refresh import effects
from csidriver.core.refresh.adopt import sync_from_source
from csidriver.core.refresh.companion_update import store_companion_and_mirror
from csidriver.core.refresh.effects import PatchSecret, RequestToken, SpoolClear, SpoolWrite
from csidriver.core.refresh.messages import UNCERTAIN_TWICE_MESSAGE
from csidriver.core.refresh.schedule import lead_time
from csidriver.core.refresh.state import RefreshContext, TokenState
from csidriver.core.sensitive import Sensitive
from csidriver.core.status import Status
from csidriver.errors import SpoolFailed, StoreConflict, StoreUnavailable
from tests.core.refresh.cluster_checks import (
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
from tests.core.refresh.virtual_cluster import (
    ISSUER,
    LOST_AFTER,
    LOST_BEFORE,
    REF,
    START,
    Crashed,
    Process,
    VirtualCluster,
    answer,
)


class TestTheQuietLife:
    def test_a_new_source_is_adopted_and_refreshed_at_once(self, running: Process) -> None:
        cluster = running.cluster
        assert cluster.server.tokens() == ["alice-0"]
        assert live(cluster) == mirrored(cluster) == "alice-1"
        assert grant(cluster).intent is None
        assert companion(cluster).status is Status.READY
        assert companion(cluster).source_uid == source(cluster).uid
        assert note(cluster, annotations.STATUS) == "Ready"
        assert cluster.spool == {}
        assert reasons(cluster) == ["Pending", "Ready"]

    def test_nodes_learn_the_reason_for_their_wait_before_the_first_exchange(
        self, process: Process
    ) -> None:
        seen: list[Status] = []
        process.cluster.before = lambda e: (
            seen.append(companion(process.cluster).status) if isinstance(e, RequestToken) else None
        )
        process.reconcile()
        assert seen == [Status.PENDING]
        assert companion(process.cluster).token is not None

    def test_companion_holds_the_access_token_and_nothing_that_renews(
        self, running: Process
    ) -> None:
        told = companion(running.cluster)
        assert told.token is not None
        assert told.token.value.reveal() == "at-alice-1"
        assert told.token.expires_at == START + LIFE
        keys = {"access_token", "token_type", "issued_at", "expires_at", "written_at"}
        assert set(running.cluster.secrets[COMPANION].data) == keys

    def test_the_mirror_keeps_unknown_fields_and_client_credentials(self, running: Process) -> None:
        data = source(running.cluster).data
        assert '"extra":1.5' in data["oauth"].reveal()
        assert data["clientID"].reveal() == "my-app"
        assert data["clientSecret"].reveal() == "s3cret"

    def test_the_schedule_is_followed_for_a_day(self, running: Process) -> None:
        running.run_for(86400)
        cluster = running.cluster
        assert presented_twice(cluster) == []
        assert 27 <= len(cluster.server.presented) <= 34
        times = [at for at, _ in cluster.server.presented]
        gaps = [b - a for a, b in itertools.pairwise(times)]
        assert max(gaps) <= LIFE - lead_time(LIFE)
        assert live(cluster) == mirrored(cluster) == cluster.server.families["alice"][-1]

    def test_a_visit_with_nothing_to_do_writes_nothing(self, running: Process) -> None:
        writes = running.cluster.writes
        running.reconcile(event=True)
        Process(running.cluster).reconcile()
        assert running.cluster.writes == writes

    def test_who_may_not_send_sends_nothing_and_does_not_spin(self, process: Process) -> None:
        process.cluster.may_send = False
        known = process.reconcile()
        assert known.next_reconcile == START + 1
        process.run_for(60)
        assert process.cluster.server.presented == []
        process.cluster.may_send = True
        process.run_for(2)
        assert process.cluster.server.tokens() == ["alice-0"]

    def test_what_is_no_source_is_left_alone(self) -> None:
        cluster = VirtualCluster()
        cluster.create(Secret(*SOURCE, data={"oauth": Sensitive(document("x"))}))
        assert Process(cluster).reconcile().next_reconcile is None
        assert cluster.writes == 2

    def test_without_a_source_there_is_nothing_to_adopt_or_to_tell(
        self, cluster: VirtualCluster
    ) -> None:
        nothing, rules = TokenState(REF), RefreshContext(Issuers(), "pod-1")
        assert cluster.run(sync_from_source(nothing, rules)) == (nothing, None)
        assert cluster.run(store_companion_and_mirror(nothing, rules, None)) == nothing

    def test_a_process_whose_knowledge_has_a_hole_reads_everything_again(
        self, running: Process
    ) -> None:
        running.cluster.now += LIFE
        running.state = replace(running.state, grant_secret=None)
        assert running.reconcile().grant_stale
        running.run_for(1)
        assert live(running.cluster) == "alice-2"


class TestTheServerSaysNo:
    def test_invalid_grant_asks_for_a_login_and_keeps_everything(self, running: Process) -> None:
        cluster = running.cluster
        cluster.server.families.clear()
        running.run_for(LIFE)
        assert companion(cluster).status is Status.NEEDS_REAUTH
        assert note(cluster, annotations.STATUS) == "NeedsReauth"
        assert live(cluster) == mirrored(cluster) == "alice-1"
        assert companion(cluster).token is not None
        assert source(cluster).data["clientSecret"].reveal() == "s3cret"
        assert cluster.server.tokens() == ["alice-0", "alice-1", "alice-1"]
        (first, _), (second, _) = cluster.server.presented[1:]
        assert second - first == pytest.approx(300)
        running.run_for(10 * 86400)
        assert len(cluster.server.presented) == 3
        cluster.apply(document(cluster.server.login("bob")))
        running.reconcile(event=True)
        assert companion(cluster).status is Status.READY

    def test_a_false_invalid_grant_is_cleared_by_the_second_look(self, running: Process) -> None:
        cluster = running.cluster
        cluster.server.script.append(answer(400, {"error": "invalid_grant"}))
        running.run_for(LIFE)
        assert companion(cluster).status is Status.READY
        assert live(cluster) == "alice-2"

    def test_an_outage_before_it_does_not_cost_the_second_look(self, running: Process) -> None:
        cluster = running.cluster
        cluster.server.script += [Failure(FailureReason.UNREACHABLE)] * 3
        cluster.server.script.append(answer(400, {"error": "invalid_grant"}))
        running.run_for(LIFE)
        assert live(cluster) == "alice-2"

    def test_invalid_grant_finds_the_new_token_in_the_source(self, running: Process) -> None:
        """A human reseeded, and the event has not been seen yet."""
        cluster = running.cluster
        cluster.apply(document(cluster.server.login("bob")))
        cluster.server.families.pop("alice")
        running.run_for(LIFE)
        assert live(cluster) == "bob-1"

    def test_an_outage_is_retried_several_times_within_the_lead(self, running: Process) -> None:
        cluster = running.cluster
        cluster.server.script += [Failure(FailureReason.UNREACHABLE)] * 1000
        running.run_for(LIFE)
        attempts = [at for at, _ in cluster.server.presented[1:]]
        assert len(attempts) >= 3
        assert all(b - a >= 10 for a, b in itertools.pairwise(attempts))
        assert companion(cluster).status is Status.ISSUER_UNAVAILABLE
        cluster.server.script.clear()
        running.run_for(120)
        assert companion(cluster).status is Status.READY
        assert companion(cluster).token is not None

    def test_trouble_of_the_issuer_is_written_to_nobody_while_the_token_has_time(
        self, running: Process
    ) -> None:
        cluster = running.cluster
        cluster.server.script += [Failure(FailureReason.UNREACHABLE)] * 1000
        running.run_for(LIFE - lead_time(LIFE))
        before, told = len(cluster.server.presented), (source(cluster), companion(cluster))
        running.run_for(lead_time(LIFE) / 2 - 200)
        assert len(cluster.server.presented) > before + 1
        assert (source(cluster), companion(cluster)) == told
        running.run_for(400)
        assert companion(cluster).status is Status.ISSUER_UNAVAILABLE
        assert note(cluster, annotations.STATUS) == "IssuerUnavailable"
        running.run_for(200)
        assert companion(cluster).next_refresh == int(grant(cluster).next_refresh or 0)

    def test_what_begins_and_ends_trouble_of_the_issuer_is_marked(self, running: Process) -> None:
        cluster = running.cluster
        cluster.server.script += [Failure(FailureReason.UNREACHABLE)] * 60
        running.run_for(LIFE - 20)
        cluster.server.script.clear()
        running.run_for(LIFE)
        cluster.server.script.append(answer(400, {"error": "invalid_grant"}))
        running.run_for(LIFE)
        told = [e for e in cluster.done if isinstance(e, effects.EmitEvent)]
        marked = [report.reason for report in told if report.of_issuer]
        assert marked == ["IssuerUnavailable", "Ready"]
        assert [report.reason for report in told][-2:] == ["NeedsReauth", "Ready"]

    def test_corrected_client_credentials_are_tried_at_once(self, running: Process) -> None:
        cluster = running.cluster
        refused = answer(401, {"error": "invalid_client"})
        cluster.server.script += [refused] * 100
        running.run_for(3 * LIFE)
        assert companion(cluster).status is Status.CLIENT_REJECTED
        assert len(cluster.server.presented) < 10
        cluster.server.script.clear()
        cluster.apply(document(live(cluster)), clientSecret="better")
        running.reconcile(event=True)
        running.run_for(11)
        assert companion(cluster).status is Status.READY
        sent = [e for e in cluster.done if isinstance(e, RequestToken)]
        assert sent[-1].client.client_secret == Sensitive("better")

    def test_a_login_that_is_required_stops_the_attempts(self, running: Process) -> None:
        cluster = running.cluster
        cluster.server.script.append(answer(400, {"error": "login_required"}))
        running.run_for(10 * 86400)
        assert len(cluster.server.presented) == 2
        assert companion(cluster).status is Status.NEEDS_REAUTH

    def test_a_new_refresh_token_is_kept_whatever_is_wrong_with_the_rest(
        self, running: Process
    ) -> None:
        cluster = running.cluster
        cluster.server.script.append(
            answer(200, {"refresh_token": "x", "access_token": "dpop", "token_type": "DPoP"})
        )
        running.run_for(LIFE - 480)
        assert live(cluster) == mirrored(cluster) == "x"
        told = companion(cluster)
        assert told.status is Status.MISCONFIGURED
        assert told.token is not None
        assert told.token.value.reveal() == "at-alice-1"

    @pytest.mark.parametrize(
        ("reply", "status"),
        [
            pytest.param(answer(401, {"error": "invalid_client"}), "ClientRejected", id="client"),
            pytest.param(answer(400, {"error": "invalid_grant"}), "NeedsReauth", id="login"),
            pytest.param(answer(400, {"error": "invalid_request"}), "Misconfigured", id="request"),
            pytest.param(answer(429, {}), "IssuerUnavailable", id="throttled"),
            pytest.param(LOST_AFTER, "Uncertain", id="no answer"),
        ],
    )
    def test_the_user_sees_which_issuer_it_was(
        self, process: Process, reply: Any, status: str
    ) -> None:
        cluster = process.cluster
        cluster.server.script.append(reply)
        process.reconcile()
        event = [e for e in cluster.done if isinstance(e, effects.EmitEvent)][-1]
        assert event.reason == note(cluster, annotations.STATUS) == status
        assert event.message == note(cluster, annotations.MESSAGE) == companion(cluster).message
        assert event.message == grant(cluster).user_message
        assert event.message.startswith(f"issuer 'cern': {grant(cluster).message}")


class TestUncertain:
    def expiry_less_a_quarter_lead(self) -> float:
        return START + LIFE - lead_time(LIFE) / 4

    def test_strict_presents_once_more_and_late(self, running: Process) -> None:
        cluster = running.cluster
        cluster.server.script.append(LOST_BEFORE)
        running.run_for(LIFE - lead_time(LIFE))
        assert companion(cluster).status is Status.UNCERTAIN
        assert note(cluster, annotations.STATUS) == "Uncertain"
        assert len(cluster.server.presented) == 2
        running.run_for(LIFE)
        at, token = cluster.server.presented[2]
        assert token == "alice-1"
        assert at == pytest.approx(self.expiry_less_a_quarter_lead())
        assert companion(cluster).status is Status.READY

    def test_strict_and_really_lost_ends_in_lost_rotation(self, running: Process) -> None:
        cluster = running.cluster
        cluster.server.script.append(LOST_AFTER)
        running.run_for(10 * LIFE)
        assert cluster.server.tokens() == ["alice-0", "alice-1", "alice-1"]
        assert companion(cluster).status is Status.LOST_ROTATION
        assert reasons(cluster)[-2:] == ["Uncertain", "LostRotation"]
        cluster.apply(document(cluster.server.login("bob")))
        running.reconcile(event=True)
        assert companion(cluster).status is Status.READY

    def test_strict_and_unknown_twice_is_never_presented_again(self, running: Process) -> None:
        cluster = running.cluster
        cluster.server.script += [LOST_BEFORE, LOST_BEFORE]
        running.run_for(10 * LIFE)
        assert cluster.server.tokens() == ["alice-0", "alice-1", "alice-1"]
        assert companion(cluster).status is Status.UNCERTAIN

    def test_an_attempt_that_proves_nothing_does_not_use_up_the_last_one(
        self, running: Process
    ) -> None:
        cluster = running.cluster
        cluster.server.script += [
            LOST_BEFORE,
            Failure(FailureReason.UNREACHABLE),
            Failure(FailureReason.UNREACHABLE),
        ]
        running.run_for(LIFE)
        assert companion(cluster).status is Status.READY
        assert live(cluster) == "alice-2"

    def test_a_window_allows_two_repetitions_one_and_three_seconds_later(
        self, running: Process
    ) -> None:
        cluster, running.issuer = running.cluster, replace(ISSUER, reuse=60.0)
        cluster.server.window = 60
        cluster.server.script += [LOST_AFTER, LOST_BEFORE]
        running.run_for(LIFE)
        times = [at for at, _ in cluster.server.presented[1:]]
        assert [at - times[0] for at in times[:3]] == pytest.approx([0, 1, 4])
        assert companion(cluster).status is Status.READY
        assert live(cluster) == "alice-2"

    @pytest.mark.parametrize(("window", "repetitions"), [(60.0, 2), (3.5, 1)])
    def test_a_window_bounds_the_repetitions(
        self, running: Process, window: float, repetitions: int
    ) -> None:
        cluster, running.issuer = running.cluster, replace(ISSUER, reuse=window)
        cluster.server.script += [LOST_BEFORE] * 10
        running.run_for(10 * LIFE)
        assert len(cluster.server.presented) == 3 + repetitions
        late = cluster.server.presented[-1][0]
        assert late == grant(cluster).expires_at - lead_time(grant(cluster).lifetime) / 4
        assert companion(cluster).status is Status.UNCERTAIN

    def test_a_window_that_has_closed_leaves_the_one_late_try_of_a_strict_server(
        self, running: Process
    ) -> None:
        cluster, running.issuer = running.cluster, replace(ISSUER, reuse=0.5)
        cluster.server.script += [LOST_BEFORE] * 10
        running.run_for(10 * LIFE)
        _, first, late = (at for at, _ in cluster.server.presented)
        assert late - first > 60
        assert companion(cluster).status is Status.UNCERTAIN
        text = f"issuer 'cern': {UNCERTAIN_TWICE_MESSAGE}"
        assert companion(cluster).message == ask_for_login(text, REF)

    def test_a_server_that_never_rotates_is_simply_asked_again(self, running: Process) -> None:
        cluster, running.issuer = running.cluster, replace(ISSUER, reuse=float("inf"))
        cluster.server.script += [LOST_BEFORE] * 3
        running.run_for(LIFE)
        assert companion(cluster).status is Status.READY
        assert "Uncertain" not in reasons(cluster)

    def test_a_reseed_settles_it_at_once(self, running: Process) -> None:
        cluster = running.cluster
        cluster.server.script.append(LOST_AFTER)
        running.run_for(LIFE - lead_time(LIFE))
        assert cluster.spool == {}, "the outcome is stored"
        reply = TokenDocument({"refresh_token": Sensitive('"late"')})
        cluster.spool[REF] = effects.SpoolEntry("late", cluster.now, reply)
        cluster.apply(document(cluster.server.login("bob")))
        cluster.may_send = False
        running.reconcile(event=True)
        assert cluster.spool == {}
        cluster.may_send = True
        running.run_for(1)
        assert companion(cluster).status is Status.READY
        assert cluster.server.tokens() == ["alice-0", "alice-1", "bob-0"]
        assert cluster.spool == {}


class TestConflictsAndOutages:
    def test_a_conflict_at_the_intent_sends_nothing(self, process: Process) -> None:
        cluster = process.cluster
        fail_next(cluster, PatchSecret, StoreConflict("moved"), on="grant-")
        process.reconcile()
        assert cluster.server.presented == []
        process.run_for(1)
        assert cluster.server.tokens() == ["alice-0"]

    def test_an_outage_at_the_intent_sends_nothing(self, process: Process) -> None:
        fail_next(process.cluster, PatchSecret, StoreUnavailable("down"), on="grant-")
        with pytest.raises(StoreUnavailable):
            process.reconcile()
        assert process.cluster.server.presented == []

    def test_a_process_that_stood_still_after_its_intent_announces_again(
        self, process: Process
    ) -> None:
        cluster = process.cluster

        def freeze() -> None:
            cluster.now += 30

        cluster.before = once(lambda e: isinstance(e, SpoolWrite), freeze)
        process.reconcile()
        assert cluster.server.presented == []
        process.run_for(1)
        assert cluster.server.tokens() == ["alice-0"]
        assert companion(cluster).status is Status.READY

    def test_a_spool_that_cannot_be_cleared_does_not_hide_a_refusal(self, running: Process) -> None:
        cluster = running.cluster
        cluster.server.families.clear()
        fail_next(cluster, SpoolClear, SpoolFailed("read-only"))
        running.run_for(LIFE)
        assert companion(cluster).status is Status.NEEDS_REAUTH

    def test_a_spool_that_cannot_take_the_nonce_sends_nothing(self, process: Process) -> None:
        fail_next(process.cluster, SpoolWrite, SpoolFailed("full"))
        with pytest.raises(SpoolFailed):
            process.reconcile()
        assert process.cluster.server.presented == []

    def test_two_processes_present_a_token_once(self, cluster: VirtualCluster) -> None:
        first, second = Process(cluster), Process(cluster, holder="pod-2")
        cluster.may_send = False
        first.reconcile()
        second.reconcile()
        cluster.may_send = True
        cluster.before = once(lambda e: isinstance(e, RequestToken), second.reconcile)
        first.run_for(1)
        assert cluster.server.tokens() == ["alice-0"]
        assert "Uncertain" not in reasons(cluster)
        second.run_for(200)
        assert cluster.server.tokens() == ["alice-0"]
        assert live(cluster) == "alice-1"


EFFECTS_OF_A_REFRESH = 40


class TestCrashes:
    @pytest.mark.parametrize("spool_survives", [True, False], ids=["container", "pod"])
    @pytest.mark.parametrize("first", [True, False], ids=["adoption", "refresh"])
    @pytest.mark.parametrize("count", range(1, EFFECTS_OF_A_REFRESH))
    def test_a_crash_after_any_effect_presents_nothing_twice(
        self, count: int, *, first: bool, spool_survives: bool
    ) -> None:
        cluster = VirtualCluster()
        cluster.apply(document(cluster.server.login("alice")))
        process = Process(cluster)
        if not first:
            process.reconcile()
            cluster.now += LIFE - 600
        try:
            process.reconcile(crash_after=count)
        except Crashed:
            last = cluster.done[-1]
        else:
            return
        intent = grant(cluster).intent if GRANT in cluster.secrets else None
        in_flight = intent is not None and not isinstance(last, PatchSecret)
        sent = any(isinstance(e, RequestToken) for e in cluster.done[-2:])
        if not spool_survives:
            cluster.spool.clear()
        survivor = Process(cluster, holder="pod-1" if spool_survives else "pod-2")
        survivor.reconcile()
        uncertain = isinstance(last, RequestToken) or (sent and not spool_survives and in_flight)
        survivor.run_for(3 * LIFE)
        if uncertain:
            assert "Uncertain" in reasons(cluster)
            assert companion(cluster).status is Status.LOST_ROTATION
        else:
            assert presented_twice(cluster) == []
            assert companion(cluster).status is Status.READY
            assert live(cluster) == mirrored(cluster) == cluster.server.families["alice"][-1]
            assert companion(cluster).generation == grant(cluster).generation

    def test_the_crashes_above_cover_every_effect(self) -> None:
        cluster = VirtualCluster()
        cluster.apply(document(cluster.server.login("alice")))
        Process(cluster).reconcile()
        assert len(cluster.done) < EFFECTS_OF_A_REFRESH

    @pytest.mark.parametrize("count", range(1, 30))
    def test_a_crash_in_the_last_attempt_allows_no_further_one(self, count: int) -> None:
        """Strict and uncertain: the second presentation is the last, whatever happens to it."""
        cluster = VirtualCluster()
        cluster.apply(document(cluster.server.login("alice")))
        process = Process(cluster)
        process.reconcile()
        cluster.server.script.append(LOST_BEFORE)
        process.run_for(LIFE - lead_time(LIFE))
        assert cluster.server.tokens() == ["alice-0", "alice-1"]
        assert process.state.next_reconcile is not None
        cluster.now = process.state.next_reconcile
        try:
            process.reconcile(crash_after=count)
        except Crashed:
            pass
        else:
            return
        for holder in ("pod-1", "pod-2"):
            survivor = Process(cluster, holder=holder)
            survivor.reconcile()
            survivor.run_for(500)
        assert cluster.server.tokens().count("alice-1") <= 2
        wanted = Status.READY if live(cluster) == "alice-2" else Status.UNCERTAIN
        assert companion(cluster).status is wanted

    def test_a_second_attempt_in_flight_is_not_taken_over_early(self, running: Process) -> None:
        """The age of an intent counts from this attempt, not from the first one long ago."""
        cluster = running.cluster
        cluster.server.script.append(LOST_BEFORE)
        running.run_for(LIFE - lead_time(LIFE))
        assert running.state.next_reconcile is not None
        cluster.now = running.state.next_reconcile
        peer = Process(cluster, holder="pod-2")
        cluster.before = once(lambda e: isinstance(e, RequestToken), peer.reconcile)
        running.reconcile()
        assert cluster.server.tokens() == ["alice-0", "alice-1", "alice-1"]
        assert live(cluster) == "alice-2"
