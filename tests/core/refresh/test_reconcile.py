"""One token from its source to its companion, in virtual time (docs/protocol.md 4)."""

import contextlib
from dataclasses import replace

import pytest

from csidriver.core.kubernetes.secret import Secret
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.issuers import Issuers
from csidriver.core.oauth.token_document import TokenDocument
from csidriver.core.oauth.token_response import Failure
from csidriver.core.refresh import effects
from csidriver.core.refresh.adopt import sync_from_source
from csidriver.core.refresh.companion_update import store_companion_and_mirror
from csidriver.core.refresh.effects import PatchSecret, RequestToken, SpoolWrite
from csidriver.core.refresh.schedule import lead_time
from csidriver.core.refresh.state import RefreshContext, TokenState
from csidriver.core.sensitive import Sensitive
from csidriver.core.status import Status
from tests.core.refresh.hooks import Crashed, is_send, once
from tests.core.refresh.virtual_cluster import (
    COMPANION,
    GRANT,
    ISSUER,
    LIFE,
    REF,
    SOURCE,
    Process,
    VirtualCluster,
    document,
)
from tests.core.refresh.virtual_server import LOST_AFTER, LOST_BEFORE, START, answer


class TestTheQuietLife:
    def test_a_new_source_is_adopted_and_refreshed_at_once(self, process: Process) -> None:
        cluster = process.cluster
        seen: list[Status] = []
        cluster.before = once(is_send, lambda: seen.append(cluster.companion().status))
        process.reconcile()
        assert seen == [Status.PENDING], "nodes learn the reason for their wait"
        assert cluster.server.tokens() == ["alice-0"]
        assert cluster.live() == cluster.mirrored() == "alice-1"
        assert cluster.grant().intent is None
        assert cluster.shown() == "Ready"
        assert cluster.spool == {}
        assert cluster.reasons() == ["Pending", "Ready"]
        data = cluster.source().data
        assert '"extra":1.5' in data["oauth"].reveal()
        assert data["clientID"].reveal() == "my-app"
        assert data["clientSecret"].reveal() == "s3cret"
        told = cluster.companion()
        assert told.source_uid == cluster.source().uid
        assert told.token is not None
        assert told.token.value.reveal() == "at-alice-1"
        assert told.token.expires_at == START + LIFE
        keys = {"access_token", "token_type", "issued_at", "expires_at", "written_at"}
        assert set(cluster.secrets[COMPANION].data) == keys, "nothing that renews"

    def test_what_is_no_source_is_left_alone(self) -> None:
        cluster = VirtualCluster()
        cluster.create(Secret(*SOURCE, data={"oauth": Sensitive(document("x"))}))
        assert Process(cluster).reconcile().next_reconcile is None
        assert cluster.writes == 1

    def test_without_a_source_there_is_nothing_to_tell(self, cluster: VirtualCluster) -> None:
        nothing, rules = TokenState(REF), RefreshContext(Issuers(), "pod-1")
        assert cluster.run(sync_from_source(nothing, rules)) == (nothing, None)
        assert cluster.run(store_companion_and_mirror(nothing, rules, None)) == nothing

    def test_who_does_not_know_the_grant_reads_it_again(self, running: Process) -> None:
        running.cluster.now += LIFE
        running.state = replace(running.state, grant_secret=None)
        assert running.reconcile().grant_stale
        running.run_for(1)
        assert running.cluster.live() == "alice-2"


class TestTheServerSaysNo:
    def test_invalid_grant_asks_for_a_login_and_keeps_everything(self, running: Process) -> None:
        cluster = running.cluster
        cluster.server.families.clear()
        running.run_for(LIFE)
        assert cluster.shown() == "NeedsReauth"
        event = [e for e in cluster.done if isinstance(e, effects.EmitEvent)][-1]
        assert event.message == cluster.message() == cluster.companion().message
        assert event.message == cluster.grant().user_message
        assert event.message.startswith(f"issuer 'cern': {cluster.grant().message}")
        assert cluster.live() == cluster.mirrored() == "alice-1"
        assert cluster.companion().token is not None
        assert cluster.source().data["clientSecret"].reveal() == "s3cret"
        assert cluster.server.tokens() == ["alice-0", "alice-1", "alice-1"]
        (first, _), (second, _) = cluster.server.presented[1:]
        assert second - first == pytest.approx(300)
        running.run_for(10 * 86400)
        assert len(cluster.server.presented) == 3
        running.login_as("bob")
        assert cluster.companion().status is Status.READY

    def test_trouble_is_not_told_while_the_token_has_time(self, running: Process) -> None:
        cluster = running.cluster
        cluster.server.script += [Failure(FailureReason.UNREACHABLE)] * 1000
        running.run_for(LIFE - lead_time(LIFE))
        before, seen = len(cluster.server.presented), (cluster.source(), cluster.companion())
        running.run_for(lead_time(LIFE) / 2 - 200)
        assert len(cluster.server.presented) > before + 1
        assert (cluster.source(), cluster.companion()) == seen
        running.run_for(400)
        assert cluster.shown() == "IssuerUnavailable"
        running.run_for(200)
        assert cluster.companion().next_refresh == int(cluster.grant().next_refresh or 0)
        cluster.server.script.clear()
        running.run_for(LIFE)
        told = [e for e in cluster.done if isinstance(e, effects.EmitEvent)]
        assert [event.reason for event in told if event.of_issuer] == ["IssuerUnavailable", "Ready"]

    def test_corrected_client_credentials_are_tried_at_once(self, running: Process) -> None:
        cluster = running.cluster
        refused = answer(401, {"error": "invalid_client"})
        cluster.server.script += [refused] * 100
        running.run_for(3 * LIFE)
        assert cluster.companion().status is Status.CLIENT_REJECTED
        assert len(cluster.server.presented) < 10
        cluster.server.script.clear()
        cluster.apply(document(cluster.live()), clientSecret="better")
        running.reconcile(event=True)
        running.run_for(11)
        assert cluster.companion().status is Status.READY
        sent = [e for e in cluster.done if isinstance(e, RequestToken)]
        assert sent[-1].client.client_secret == Sensitive("better")


class TestUncertain:
    @pytest.mark.parametrize(
        ("fate", "end"), [(LOST_BEFORE, "Ready"), (LOST_AFTER, "LostRotation")]
    )
    def test_strict_presents_once_more_and_late(
        self, running: Process, fate: str, end: str
    ) -> None:
        cluster = running.cluster
        cluster.server.script.append(fate)
        running.run_for(LIFE - lead_time(LIFE))
        assert cluster.shown() == "Uncertain"
        assert len(cluster.server.presented) == 2
        running.run_for(lead_time(LIFE))
        at, token = cluster.server.presented[2]
        assert token == "alice-1"
        assert at == pytest.approx(START + LIFE - lead_time(LIFE) / 4)
        assert cluster.reasons()[-2:] == ["Uncertain", end]
        running.login_as("bob")
        assert cluster.companion().status is Status.READY

    def test_an_attempt_that_was_not_sent_is_not_the_last(self, running: Process) -> None:
        unsent = Failure(FailureReason.UNREACHABLE)
        running.cluster.server.script += [LOST_BEFORE, unsent, unsent]
        running.run_for(LIFE)
        assert running.cluster.companion().status is Status.READY
        assert running.cluster.live() == "alice-2"

    def test_a_window_allows_repetitions_after_1_and_3_s(self, running: Process) -> None:
        cluster, running.issuer = running.cluster, replace(ISSUER, reuse=60.0)
        cluster.server.window = 60
        cluster.server.script += [LOST_AFTER, LOST_BEFORE]
        running.run_for(LIFE)
        times = [at for at, _ in cluster.server.presented[1:]]
        assert [at - times[0] for at in times[:3]] == pytest.approx([0, 1, 4])
        assert cluster.companion().status is Status.READY
        assert cluster.live() == "alice-2"

    def test_a_server_that_never_rotates_is_simply_asked_again(self, running: Process) -> None:
        cluster, running.issuer = running.cluster, replace(ISSUER, reuse=float("inf"))
        cluster.server.introspects = True
        cluster.server.script += [LOST_BEFORE] * 3
        running.run_for(LIFE)
        assert cluster.companion().status is Status.READY
        assert "Uncertain" not in cluster.reasons()
        assert cluster.server.asked == []

    def test_a_reseed_settles_it_at_once(self, running: Process) -> None:
        cluster = running.cluster
        cluster.server.script.append(LOST_AFTER)
        running.run_for(LIFE - lead_time(LIFE))
        reply = TokenDocument({"refresh_token": Sensitive('"late"')})
        cluster.spool[REF] = effects.SpoolEntry("late", cluster.now, reply)
        cluster.apply(document(cluster.server.login("bob")))
        cluster.may_send = False
        running.reconcile(event=True)
        assert cluster.spool == {}
        cluster.may_send = True
        running.run_for(1)
        assert cluster.companion().status is Status.READY
        assert cluster.server.tokens() == ["alice-0", "alice-1", "bob-0"]


def test_who_stood_still_after_its_intent_announces_again(process: Process) -> None:
    cluster = process.cluster

    def freeze() -> None:
        cluster.now += 30

    cluster.before = once(lambda e: isinstance(e, SpoolWrite), freeze)
    process.reconcile()
    assert (cluster.server.presented, cluster.slots) == ([], [])
    process.run_for(1)
    assert cluster.server.tokens() == ["alice-0"]


EFFECTS_OF_A_REFRESH = 40


def test_a_second_attempt_in_flight_is_not_taken_over_early(running: Process) -> None:
    """The age of an intent counts from this attempt, not from the first one long ago."""
    cluster = running.cluster
    cluster.server.script.append(LOST_BEFORE)
    running.run_for(LIFE - lead_time(LIFE))
    cluster.now = running.state.next_reconcile or 0.0
    cluster.before = once(is_send, Process(cluster, holder="pod-2").reconcile)
    running.reconcile()
    assert cluster.server.tokens() == ["alice-0", "alice-1", "alice-1"]
    assert cluster.live() == "alice-2"


def test_who_may_not_send_sends_nothing_and_does_not_spin(process: Process) -> None:
    process.cluster.may_send = False
    assert process.reconcile().next_reconcile == START + 1
    process.run_for(60)
    assert process.cluster.server.presented == []
    process.cluster.may_send = True
    process.run_for(2)
    assert process.cluster.server.tokens() == ["alice-0"]


class TestCrashes:
    @pytest.mark.parametrize("start", ["container", "pod", "lists", "lists after a re-apply"])
    @pytest.mark.parametrize("first", [True, False], ids=["adoption", "refresh"])
    def test_a_crash_after_any_effect_presents_nothing_twice(
        self, start: str, *, first: bool
    ) -> None:
        for number in range(1, EFFECTS_OF_A_REFRESH):
            cluster = VirtualCluster()
            cluster.apply(document(cluster.server.login("alice")))
            process = Process(cluster)
            if not first:
                process.reconcile()
                cluster.now += LIFE - 600
            try:
                process.reconcile(crash_after=number)
            except Crashed:
                self.survive(process, start)
            else:
                return
        raise AssertionError("a refresh has more effects")

    def survive(self, process: Process, start: str) -> None:
        """Start again with the spool, without it in another pod, or from lists."""
        cluster, last = process.cluster, process.cluster.done[-1]
        intent = cluster.grant().intent if GRANT in cluster.secrets else None
        in_flight = intent is not None and not isinstance(last, PatchSecret)
        lost = is_send(last)
        survivor = Process(cluster)
        if start == "pod":
            cluster.spool.clear()
            lost |= any(map(is_send, cluster.done[-2:])) and in_flight
            survivor = Process(cluster, holder="pod-2")
        elif start.startswith("lists"):
            if "re-apply" in start:
                cluster.apply(document("alice-0"))
            survivor.restart()
        survivor.reconcile()
        survivor.run_for(3 * LIFE)
        assert cluster.companion().status is (Status.LOST_ROTATION if lost else Status.READY)
        assert cluster.status() == cluster.companion().status.value
        assert cluster.companion().generation == cluster.grant().generation
        if lost:
            assert "Uncertain" in cluster.reasons()
        else:
            assert cluster.presented_twice() == []
            assert cluster.live() == cluster.mirrored() == cluster.server.families["alice"][-1]
            assert cluster.warning() == ""

    @pytest.mark.parametrize("count", range(1, 30))
    def test_a_crash_in_the_last_attempt_allows_no_other(
        self, running: Process, count: int
    ) -> None:
        """Strict and uncertain: the second presentation is the last, whatever happens to it."""
        cluster = running.cluster
        cluster.server.script.append(LOST_BEFORE)
        running.run_for(LIFE - lead_time(LIFE))
        cluster.now = running.state.next_reconcile or 0.0
        with contextlib.suppress(Crashed):
            running.reconcile(crash_after=count)
        for holder in ("pod-1", "pod-2"):
            survivor = Process(cluster, holder=holder)
            survivor.reconcile()
            survivor.run_for(500)
        assert cluster.server.tokens().count("alice-1") <= 2
        wanted = Status.READY if cluster.live() == "alice-2" else Status.UNCERTAIN
        assert cluster.companion().status is wanted
