"""Users who put in, replace, restore, break and delete a source (docs/protocol.md 2, 3)."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from csidriver.core import annotations, names
from csidriver.core.companion import Companion
from csidriver.core.kubernetes.change import TokenObject
from csidriver.core.names import SourceRef
from csidriver.core.refresh.adopt import RESEED_INTERVAL
from csidriver.core.refresh.effects import GetSecret, RequestToken
from csidriver.core.refresh.schedule import min_interval
from csidriver.core.sensitive import Sensitive
from csidriver.core.status import Status
from csidriver.refresher.state_cache import compact
from tests.core.refresh.cluster_checks import (
    COMPANION,
    GRANT,
    LIFE,
    SOURCE,
    companion,
    count,
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
from tests.core.refresh.grants import jwt
from tests.core.refresh.virtual_cluster import ISSUER, Process, VirtualCluster


class TestUsers:
    def test_a_reapplied_manifest_presents_nothing_twice_and_is_mirrored_again(
        self, running: Process
    ) -> None:
        cluster = running.cluster
        cluster.apply(document("alice-0"))
        running.reconcile(event=True)
        assert live(cluster) == "alice-1"
        assert note(cluster, annotations.WARNING) == "OldSeedRestored"
        assert mirrored(cluster) == "alice-0"
        running.run_for(LIFE)
        assert mirrored(cluster) == live(cluster) == "alice-2"
        assert note(cluster, annotations.WARNING) == ""
        assert cluster.server.tokens() == ["alice-0", "alice-1"]

    def test_a_gitops_loop_is_not_fought(self, running: Process) -> None:
        cluster = running.cluster
        for _ in range(20):
            cluster.apply(document("alice-0"))
            running.reconcile(event=True)
        assert reasons(cluster).count("OldSeedRestored") == 1
        assert mirrored(cluster) == "alice-0"

    def test_a_restart_with_a_current_mirror_does_not_fight_either(self, running: Process) -> None:
        cluster = running.cluster
        fresh = Process(cluster)
        fresh.reconcile()
        cluster.apply(document("alice-0"))
        fresh.reconcile(event=True)
        assert mirrored(cluster) == "alice-0"
        assert live(cluster) == "alice-1"

    def test_a_recreated_source_is_the_same_grant(self, running: Process) -> None:
        cluster = running.cluster
        delete(cluster, SOURCE)
        running.reconcile(event=True)
        recreated = cluster.apply(document("alice-0"))
        running.reconcile(event=True)
        assert live(cluster) == "alice-1"
        assert companion(cluster).source_uid == recreated.uid
        assert note(cluster, annotations.WARNING) == "OldSeedRestored"
        running.run_for(LIFE)
        assert mirrored(cluster) == "alice-2"
        assert presented_twice(cluster) == []

    def test_a_reseed_replaces_the_running_grant(self, running: Process) -> None:
        cluster = running.cluster
        before = grant(cluster).generation
        cluster.apply(document(cluster.server.login("bob")))
        running.reconcile(event=True)
        assert live(cluster) == mirrored(cluster) == "bob-1"
        assert grant(cluster).generation > before
        assert companion(cluster).generation == grant(cluster).generation
        assert cluster.server.tokens() == ["alice-0", "bob-0"]
        cluster.apply(document("alice-1"))
        running.reconcile(event=True)
        assert live(cluster) == "bob-1"

    def test_edits_in_a_loop_cause_a_send_at_once_and_then_one_every_ten_seconds(
        self, running: Process
    ) -> None:
        cluster = running.cluster
        cluster.now += 3600.0
        began, writes = cluster.now, cluster.writes
        edits = 20 * 63
        for number in range(edits):
            cluster.apply(document(f"invented-{number}"))
            running.reconcile(event=True)
            cluster.now += 1 / 63
        sent = [at for at, token in cluster.server.presented if token.startswith("invented")]
        assert sent == [pytest.approx(began + seconds, abs=0.1) for seconds in (0.0, 10.0)]
        assert min(b - a for a, b in pairwise(sent)) >= min_interval(LIFE)
        assert cluster.writes - writes - edits <= 20, "the edits themselves are writes, too"

    def test_the_last_of_several_reseeds_counts_without_another_edit(
        self, running: Process
    ) -> None:
        cluster = running.cluster
        for name in ("bob", "carol", "dave"):
            cluster.apply(document(cluster.server.login(name)))
            running.reconcile(event=True)
        assert live(cluster) == "bob-1"
        assert mirrored(cluster) == "dave-0", "what waits is not overwritten"
        running.run_for(RESEED_INTERVAL)
        assert live(cluster) == mirrored(cluster) == "dave-1"

    def test_a_clock_that_was_ahead_does_not_hold_back_a_reseed(self, running: Process) -> None:
        cluster = running.cluster
        for offset, name in ((3600.0, "bob"), (0.0, "carol")):
            cluster.offsets["pod-1"] = offset
            cluster.apply(document(cluster.server.login(name)))
            running.reconcile(event=True)
        assert cluster.server.tokens()[-1] == "carol-0"

    def test_a_reseed_takes_the_old_access_token_from_the_nodes(self, running: Process) -> None:
        cluster = running.cluster
        cluster.may_send = False
        cluster.apply(document(cluster.server.login("bob")))
        running.reconcile(event=True)
        assert companion(cluster).status is Status.PENDING
        assert companion(cluster).token is None

    def test_a_reseed_during_the_exchange_wins(self, process: Process) -> None:
        cluster = process.cluster
        other = Process(cluster, holder="pod-2")

        def reseed() -> None:
            cluster.apply(document(cluster.server.login("bob")))
            cluster.may_send = False
            other.reconcile()
            cluster.may_send = True

        cluster.before = once(lambda e: isinstance(e, RequestToken), reseed)
        process.reconcile()
        assert live(cluster) == mirrored(cluster) == "bob-0"
        process.run_for(1)
        assert live(cluster) == mirrored(cluster) == "bob-1"
        assert presented_twice(cluster) == []

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
        cluster = VirtualCluster()
        seed = document(cluster.server.login("alice"))
        cluster.apply(broken, clientID=client)
        process = Process(cluster)
        assert process.reconcile().next_reconcile is None
        assert companion(cluster).status is Status.INVALID
        assert note(cluster, annotations.STATUS) == "Invalid"
        assert GRANT not in cluster.secrets
        cluster.apply(seed)
        process.reconcile(event=True)
        assert companion(cluster).status is Status.READY

    def test_a_broken_edit_stops_no_working_grant_and_is_not_overwritten(
        self, running: Process
    ) -> None:
        cluster = running.cluster
        broken = '{"refresh_token": "bob-0",'
        cluster.apply(broken)
        running.reconcile(event=True)
        assert note(cluster, annotations.STATUS) == "Invalid"
        assert companion(cluster).status is Status.READY
        running.run_for(LIFE)
        assert live(cluster) == "alice-2"
        assert companion(cluster).generation == grant(cluster).generation
        assert source(cluster).data["oauth"].reveal() == broken
        cluster.apply(document(cluster.server.login("bob")))
        running.reconcile(event=True)
        assert live(cluster) == mirrored(cluster) == "bob-1"

    def test_a_reseed_for_no_issuer_is_told_and_the_old_grant_goes_on(
        self, running: Process
    ) -> None:
        cluster = running.cluster
        cluster.apply(document("carol-0"))
        running.issuer = replace(ISSUER, default=False)
        running.reconcile(event=True)
        assert note(cluster, annotations.STATUS) == "Misconfigured"
        running.run_for(LIFE)
        assert cluster.server.tokens() == ["alice-0", "alice-1"]
        assert mirrored(cluster) == "carol-0"

    def test_a_new_source_without_issuer_is_misconfigured(self, process: Process) -> None:
        process.issuer = replace(ISSUER, default=False)
        assert process.reconcile().next_reconcile is None
        assert companion(process.cluster).status is Status.MISCONFIGURED
        assert process.cluster.server.presented == []

    def test_a_token_of_another_issuer_is_sent_to_nobody_until_that_is_settled(self) -> None:
        cluster = VirtualCluster()
        seed = cluster.server.login("alice")
        cluster.apply(document(seed, access_token=jwt(0, 1, "https://elsewhere.example")))
        process = Process(cluster)
        assert process.reconcile().next_reconcile is None
        assert companion(cluster).status is Status.MISCONFIGURED
        assert cluster.server.tokens() == []
        message = note(cluster, annotations.MESSAGE)
        assert message == companion(cluster).message
        for named in ("https://elsewhere.example", "https://auth.example", annotations.ISSUER):
            assert named in message
        process.issuer = replace(ISSUER, access_token_issuers=("https://elsewhere.example",))
        process.reconcile()
        assert companion(cluster).status is Status.READY
        assert live(cluster) == "alice-1"

    def test_a_bound_token_stays_bound_whatever_its_access_token_names(
        self, running: Process
    ) -> None:
        cluster = running.cluster
        cluster.apply(document("alice-1", access_token=jwt(0, 1, "https://elsewhere.example")))
        running.reconcile(event=True)
        running.run_for(LIFE)
        assert note(cluster, annotations.STATUS) == "Ready"
        assert live(cluster) == "alice-2"

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
        cluster = running.cluster
        cluster.apply(document("alice-1"), issuer=annotation)
        running.issuer = issuer
        assert running.reconcile(event=True).next_reconcile is None
        cluster.now += LIFE
        running.reconcile(event=True)
        assert cluster.server.tokens() == ["alice-0"]
        assert note(cluster, annotations.STATUS) == "Misconfigured"
        assert companion(cluster).status is Status.MISCONFIGURED
        login = "run: kubectl oauth2-csi login hello-token -n physics"
        closed = bool(issuer.namespaces)
        assert companion(cluster).message.endswith("" if closed else login)
        assert companion(cluster).token is not None
        running.issuer = ISSUER
        cluster.apply(document("alice-1"), issuer="cern")
        running.reconcile(event=True)
        assert companion(cluster).status is Status.READY
        assert live(cluster) == "alice-2"

    def test_a_deleted_source_is_forgotten_after_ten_minutes(self, running: Process) -> None:
        cluster = running.cluster
        delete(cluster, SOURCE)
        running.reconcile(event=True)
        running.run_for(599)
        assert {GRANT, COMPANION} <= set(cluster.secrets)
        running.run_for(2)
        assert cluster.secrets == {}
        assert running.state.next_reconcile is None
        assert cluster.server.tokens() == ["alice-0"]

    def test_a_source_that_returned_unnoticed_is_not_forgotten(self, running: Process) -> None:
        cluster = running.cluster
        delete(cluster, SOURCE)
        running.reconcile(event=True)
        cluster.apply(document("alice-0"))
        running.run_for(LIFE)
        assert live(cluster) == "alice-2"

    def test_the_ten_minutes_count_from_the_last_departure(self, running: Process) -> None:
        cluster = running.cluster
        for _ in range(2):
            delete(cluster, SOURCE)
            running.reconcile(event=True)
            running.run_for(500)
            cluster.apply(document("alice-0"))
            running.reconcile(event=True)
        assert live(cluster) == "alice-1"

    def test_a_new_source_of_the_name_after_that_starts_anew(self, running: Process) -> None:
        cluster = running.cluster
        delete(cluster, SOURCE)
        running.reconcile(event=True)
        running.run_for(601)
        cluster.apply(document(cluster.server.login("bob")))
        running.reconcile(event=True)
        assert live(cluster) == "bob-1"

    def test_a_lost_grant_is_adopted_from_the_mirror_with_a_higher_generation(
        self, running: Process
    ) -> None:
        cluster = running.cluster
        delete(cluster, GRANT)
        before = companion(cluster).generation
        Process(cluster).reconcile()
        assert live(cluster) == "alice-2"
        assert companion(cluster).generation > before

    def test_a_grant_that_cannot_be_read_is_neither_used_nor_overwritten(
        self, running: Process
    ) -> None:
        cluster = running.cluster
        damaged = replace(cluster.secrets[GRANT], data={})
        cluster.secrets[GRANT] = damaged
        process = Process(cluster)
        process.reconcile()
        assert cluster.secrets[GRANT] is damaged
        assert cluster.server.tokens() == ["alice-0"]
        self.is_told(cluster, "restore it from a backup")
        assert process.state.next_reconcile is None

    def is_told(self, cluster: VirtualCluster, cure: str) -> None:
        """Source and companion say what is wrong, by name, and nodes keep their token."""
        message = note(cluster, annotations.MESSAGE)
        assert note(cluster, annotations.STATUS) == "Invalid"
        assert "/".join(GRANT) in message
        assert cure in message
        assert message.endswith("; run: kubectl oauth2-csi login hello-token -n physics")
        assert companion(cluster).status is Status.INVALID
        assert companion(cluster).message == message
        token = companion(cluster).token
        assert token is not None
        assert token.value.reveal() == "at-alice-1"

    def test_a_grant_that_is_damaged_while_it_is_remembered_goes_on_once_restored(
        self, running: Process
    ) -> None:
        cluster = running.cluster
        stored = cluster.secrets[GRANT]
        cluster.secrets[GRANT] = replace(stored, data={}, resource_version="damaged")
        running.observe(TokenObject.GRANT)
        running.reconcile()
        self.is_told(cluster, "restore it from a backup")
        running.run_for(2 * LIFE)
        assert cluster.server.tokens() == ["alice-0"]
        cluster.secrets[GRANT] = replace(stored, resource_version="restored")
        running.observe(TokenObject.GRANT)
        running.reconcile()
        assert note(cluster, annotations.STATUS) == "Ready"
        assert live(cluster) == "alice-2"

    def test_a_damaged_grant_that_is_deleted_is_made_again_from_memory(
        self, running: Process
    ) -> None:
        cluster = running.cluster
        cluster.secrets[GRANT] = replace(
            cluster.secrets[GRANT], data={}, resource_version="damaged"
        )
        running.observe(TokenObject.GRANT)
        running.reconcile()
        delete(cluster, GRANT)
        running.observe(TokenObject.GRANT)
        running.reconcile(event=True)
        assert live(cluster) == "alice-1"
        assert note(cluster, annotations.STATUS) == "Ready"

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
        cluster.apply(document(cluster.server.login("bob")))
        process.reconcile(event=True)
        assert live(cluster) == "bob-1"
        assert note(cluster, annotations.STATUS) == "Ready"


class TestAFullNamespace:
    OTHER = SourceRef("physics", "other")

    def wait(self, running: Process) -> Process:
        """Let another source come into a namespace with as many grants as it may have."""
        running.tokens_per_namespace = 1
        running.cluster.apply(document(running.cluster.server.login("bob")), ref=self.OTHER)
        waiting = Process(running.cluster, ref=self.OTHER, tokens_per_namespace=1)
        waiting.reconcile()
        return waiting

    def test_one_more_is_told_why_it_waits_and_sends_nothing(self, running: Process) -> None:
        cluster = running.cluster
        waiting = self.wait(running)
        annotated = cluster.secrets[self.OTHER.namespace, self.OTHER.name].annotations
        assert annotated[annotations.STATUS] == "Misconfigured"
        message = annotated[annotations.MESSAGE]
        assert "namespace physics has tokens of 1 Secrets" in message
        assert "tokensPerNamespace" in message
        told = cluster.secrets[names.TOKENS_NAMESPACE, self.OTHER.companion]
        assert Companion.from_secret(told).message == message
        assert (names.DRIVER_NAMESPACE, self.OTHER.grant) not in cluster.secrets
        assert waiting.state.next_reconcile is None
        assert cluster.server.tokens() == ["alice-0"]

    def test_those_that_are_there_go_on(self, running: Process) -> None:
        self.wait(running)
        running.tokens_per_namespace = 0
        running.run_for(LIFE)
        restarted = Process(running.cluster, tokens_per_namespace=0)
        restarted.reconcile()
        restarted.run_for(LIFE)
        assert running.cluster.server.tokens() == ["alice-0", "alice-1", "alice-2"]

    def test_the_source_is_not_read_again_before_there_is_room(self, running: Process) -> None:
        cluster = running.cluster
        waiting = self.wait(running)
        waiting.state = compact(waiting.state)
        before = count(cluster, GetSecret)
        for _ in range(3):
            waiting.reconcile()
        assert count(cluster, GetSecret) == before
        del cluster.tokens[running.ref]
        waiting.reconcile()
        assert cluster.server.tokens() == ["alice-0", "bob-0"]

    def test_a_change_of_the_source_is_looked_at(self, running: Process) -> None:
        waiting = self.wait(running)
        waiting.state = compact(waiting.state)
        running.cluster.apply("no JSON", ref=self.OTHER)
        waiting.reconcile(event=True)
        told = running.cluster.secrets[self.OTHER.namespace, self.OTHER.name].annotations
        assert told[annotations.STATUS] == "Invalid"
