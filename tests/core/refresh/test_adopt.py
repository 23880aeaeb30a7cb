"""Users who put in, replace, restore, break and delete a source (docs/protocol.md 2, 3)."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from csidriver.core import annotations, names
from csidriver.core.kubernetes.change import TokenObject
from csidriver.core.names import SourceRef
from csidriver.core.refresh.adopt import RESEED_INTERVAL
from csidriver.core.refresh.effects import GetSecret
from csidriver.core.refresh.schedule import min_interval
from csidriver.core.sensitive import Sensitive
from csidriver.core.status import Status
from csidriver.refresher.state_cache import compact
from tests.core.refresh.grants import jwt
from tests.core.refresh.virtual_cluster import (
    COMPANION,
    GRANT,
    ISSUER,
    LIFE,
    Process,
    VirtualCluster,
    document,
)


class TestUsers:
    def test_a_reapplied_manifest_is_not_fought(self, running: Process) -> None:
        cluster = running.cluster
        for _ in range(3):
            running.edit(document("alice-0"))
        assert cluster.live() == "alice-1"
        assert cluster.warning() == "OldSeedRestored"
        assert cluster.reasons().count("OldSeedRestored") == 1
        assert cluster.mirrored() == "alice-0"
        running.run_for(LIFE)
        assert cluster.mirrored() == cluster.live() == "alice-2"
        assert cluster.warning() == ""
        assert cluster.server.tokens() == ["alice-0", "alice-1"]

    def test_a_seed_is_known_as_spent_for_ever(self, running: Process) -> None:
        running.run_for(30 * LIFE)
        running.edit(document("alice-0"))
        running.run_for(60)
        assert running.cluster.server.tokens().count("alice-0") == 1
        assert running.cluster.status() == "Ready"

    def test_a_reseed_replaces_the_running_grant(self, running: Process) -> None:
        cluster = running.cluster
        before = cluster.grant().generation
        running.login_as("bob")
        assert cluster.live() == cluster.mirrored() == "bob-1"
        assert cluster.grant().generation > before
        assert cluster.companion().generation == cluster.grant().generation
        assert cluster.server.tokens() == ["alice-0", "bob-0"]
        running.edit(document("alice-1"))
        assert cluster.live() == "bob-1"

    def test_edits_in_a_loop_cause_a_send_every_ten_seconds(self, running: Process) -> None:
        cluster = running.cluster
        cluster.now += 3600.0
        began, writes = cluster.now, cluster.writes
        edits = 20 * 20
        for number in range(edits):
            running.edit(document(f"invented-{number}"))
            cluster.now += 1 / 20
        sent = [at for at, token in cluster.server.presented if token.startswith("invented")]
        assert sent == [pytest.approx(began + seconds, abs=0.1) for seconds in (0.0, 10.0)]
        assert min(b - a for a, b in pairwise(sent)) >= min_interval(LIFE)
        assert cluster.writes - writes - edits <= 20, "the edits themselves are writes, too"

    def test_the_last_of_several_reseeds_counts(self, running: Process) -> None:
        cluster = running.cluster
        for name in ("bob", "carol", "dave"):
            running.login_as(name)
        assert cluster.live() == "bob-1"
        assert cluster.mirrored() == "dave-0", "what waits is not overwritten"
        running.run_for(RESEED_INTERVAL)
        assert cluster.live() == cluster.mirrored() == "dave-1"

    def test_a_reseed_takes_the_old_access_token_from_the_nodes(self, running: Process) -> None:
        running.cluster.may_send = False
        running.login_as("bob")
        assert running.cluster.companion().status is Status.PENDING
        assert running.cluster.companion().token is None

    def test_an_invalid_new_source_says_so_and_is_adopted_when_mended(self) -> None:
        cluster = VirtualCluster()
        seed = document(cluster.server.login("alice"))
        cluster.apply(seed, clientID=" ")
        process = Process(cluster)
        assert process.reconcile().next_reconcile is None
        assert cluster.shown() == "Invalid"
        assert GRANT not in cluster.secrets
        process.edit(seed)
        assert cluster.companion().status is Status.READY

    def test_a_broken_edit_stops_nothing_and_is_not_overwritten(self, running: Process) -> None:
        """Our own annotations beside it do not hide it from a restart."""
        cluster = running.cluster
        broken = '{"refresh_token": "bob-0",'
        running.edit(broken)
        assert cluster.status() == "Invalid"
        assert cluster.companion().status is Status.READY
        running.restart()
        running.reconcile()
        running.run_for(LIFE)
        assert cluster.live() == "alice-2"
        assert cluster.companion().generation == cluster.grant().generation
        assert cluster.source().data["oauth"].reveal() == broken
        running.login_as("bob")
        assert cluster.live() == cluster.mirrored() == "bob-1"

    def test_a_token_of_another_issuer_is_sent_to_nobody_until_that_is_settled(self) -> None:
        cluster = VirtualCluster()
        seed = cluster.server.login("alice")
        cluster.apply(document(seed, access_token=jwt(iss="https://elsewhere.example")))
        process = Process(cluster)
        assert process.reconcile().next_reconcile is None
        assert cluster.companion().status is Status.MISCONFIGURED
        assert cluster.server.tokens() == []
        message = cluster.message()
        assert message == cluster.companion().message
        for named in ("https://elsewhere.example", "https://auth.example", annotations.ISSUER):
            assert named in message
        process.issuer = replace(ISSUER, access_token_issuers=("https://elsewhere.example",))
        process.reconcile()
        assert cluster.companion().status is Status.READY
        assert cluster.live() == "alice-1"

    @pytest.mark.parametrize(
        ("annotation", "issuer"),
        [
            pytest.param("elsewhere", ISSUER, id="annotation changed"),
            pytest.param("", replace(ISSUER, issuer="https://evil.example"), id="another server"),
            pytest.param("", replace(ISSUER, namespaces=("other",)), id="namespace closed"),
        ],
    )
    def test_a_token_goes_only_to_the_issuer_it_was_adopted_with(
        self, running: Process, annotation: str, issuer: Any
    ) -> None:
        cluster = running.cluster
        cluster.apply(document("alice-1"), issuer=annotation)
        running.issuer = issuer
        assert running.reconcile(event=True).next_reconcile is None
        cluster.now += LIFE
        running.reconcile(event=True)
        assert cluster.server.tokens() == ["alice-0"]
        assert cluster.shown() == "Misconfigured"
        login = "run: kubectl oauth2-csi login hello-token -n physics"
        closed = bool(issuer.namespaces)
        assert cluster.companion().message.endswith("" if closed else login)
        assert cluster.companion().token is not None
        running.issuer = ISSUER
        running.edit(document("alice-1"), issuer="cern")
        assert cluster.companion().status is Status.READY
        assert cluster.live() == "alice-2"

    def test_a_deleted_source_is_forgotten_after_ten_minutes(self, running: Process) -> None:
        running.delete()
        running.run_for(599)
        assert {GRANT, COMPANION} <= set(running.cluster.secrets)
        running.run_for(2)
        assert running.cluster.secrets == {}
        assert running.state.next_reconcile is None
        assert running.cluster.server.tokens() == ["alice-0"]

    def test_a_lost_grant_is_adopted_from_the_mirror(self, running: Process) -> None:
        cluster = running.cluster
        del cluster.secrets[GRANT]
        before = cluster.companion().generation
        Process(cluster).reconcile()
        assert cluster.live() == "alice-2"
        assert cluster.companion().generation > before

    def is_told(self, cluster: VirtualCluster, cure: str) -> None:
        """Source and companion say what is wrong, by name, and nodes keep their token."""
        message = cluster.message()
        assert cluster.status() == "Invalid"
        assert "/".join(GRANT) in message
        assert cure in message
        assert message.endswith("; run: kubectl oauth2-csi login hello-token -n physics")
        assert cluster.companion().status is Status.INVALID
        assert cluster.companion().message == message
        token = cluster.companion().token
        assert token is not None
        assert token.value.reveal() == "at-alice-1"

    def test_a_damaged_grant_goes_on_once_restored(self, running: Process) -> None:
        cluster, stored = running.cluster, running.cluster.secrets[GRANT]
        running.meddle(TokenObject.GRANT, data={})
        self.is_told(cluster, "restore it from a backup")
        fresh = running.restarted_for(2 * LIFE)
        assert cluster.secrets[GRANT].data == {}
        assert cluster.server.tokens() == ["alice-0"]
        fresh.meddle(TokenObject.GRANT, data=stored.data)
        assert cluster.status() == "Ready"
        assert cluster.live() == "alice-2"

    @pytest.mark.parametrize("text", ["{}", '{"refresh_token": "alice-0"}'])
    def test_a_grant_without_a_token_that_may_be_sent_is_told_and_mended_by_a_login(
        self, running: Process, text: str
    ) -> None:
        cluster = running.cluster
        stored = cluster.secrets[GRANT]
        cluster.secrets[GRANT] = replace(stored, data={**stored.data, "document": Sensitive(text)})
        cluster.now += LIFE
        cluster.apply(document("alice-0"))
        process = Process(cluster)
        process.reconcile()
        assert cluster.server.tokens() == ["alice-0"]
        self.is_told(cluster, "log in again")
        process.login_as("bob")
        assert cluster.live() == "bob-1"
        assert cluster.status() == "Ready"


OTHER = SourceRef("physics", "other")


def test_one_more_is_told_why_it_waits_and_sent_once_there_is_room(running: Process) -> None:
    cluster = running.cluster
    cluster.apply(document(cluster.server.login("bob")), ref=OTHER)
    waiting = Process(cluster, ref=OTHER, tokens_per_namespace=1)
    waiting.reconcile()
    assert cluster.status(OTHER) == "Misconfigured"
    message = cluster.message(OTHER)
    assert "namespace physics has tokens of 1 Secrets" in message
    assert "tokensPerNamespace" in message
    assert cluster.companion(OTHER).message == message
    assert (names.DRIVER_NAMESPACE, OTHER.grant) not in cluster.secrets
    assert waiting.state.next_reconcile is None
    waiting.state = compact(waiting.state)
    before = cluster.count(GetSecret)
    for _ in range(3):
        waiting.reconcile()
    assert cluster.count(GetSecret) == before
    assert cluster.server.tokens() == ["alice-0"]
    del cluster.tokens[running.ref]
    waiting.reconcile()
    assert cluster.server.tokens() == ["alice-0", "bob-0"]
