"""Conflicts and outages while an outcome is stored (docs/protocol.md 4.6)."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.token_response import Failure
from csidriver.core.refresh import effects
from csidriver.core.refresh.commit import Conflict, classify_conflict
from csidriver.core.refresh.effects import Effect, RequestToken, SpoolWrite
from csidriver.core.refresh.grant import Grant, adopt, with_intent
from csidriver.core.refresh.outcomes import after_failure, after_success
from csidriver.core.refresh.schedule import lead_time
from csidriver.core.sensitive import Sensitive
from csidriver.core.status import Status
from csidriver.errors import StoreConflict, StoreUnavailable
from tests.core.refresh.cluster_checks import (
    GRANT,
    LIFE,
    any_sent,
    companion,
    count,
    crash,
    delete,
    grant,
    is_commit,
    live,
    mirrored,
    once,
)
from tests.core.refresh.grants import ADOPTED, AFTER, INTENT, ISSUERS, parsed_source, token_document
from tests.core.refresh.virtual_cluster import ISSUER, REF, Crashed, Process, VirtualCluster, answer
from tests.core.refresh.virtual_cluster import START as NOW

PEER = after_success(
    INTENT, token_document(refresh_token="theirs", access_token="a"), NOW, ISSUER, 0.0
)


TAKEN = with_intent(INTENT, "n2", "pod-2", NOW + 100, 60.0)


REFUSED = after_failure(INTENT, Failure(FailureReason.FORBIDDEN), NOW, ISSUER, 0.0)


SAME_RT = after_success(INTENT, token_document(access_token="a"), NOW, ISSUER, 0.0)


@pytest.mark.parametrize(
    ("stored", "after", "wanted"),
    [
        pytest.param(None, AFTER, Conflict.DELETED, id="deleted"),
        pytest.param(INTENT, AFTER, Conflict.REBASE, id="foreign write"),
        pytest.param(INTENT, REFUSED, Conflict.REBASE, id="foreign write, refusal"),
        pytest.param(TAKEN, AFTER, Conflict.REBASE, id="taken over, tokens in hand"),
        pytest.param(TAKEN, REFUSED, Conflict.ARRIVED, id="taken over, nothing in hand"),
        pytest.param(AFTER, AFTER, Conflict.ARRIVED, id="our patch arrived"),
        pytest.param(REFUSED, REFUSED, Conflict.ARRIVED, id="our refusal arrived"),
        pytest.param(SAME_RT, SAME_RT, Conflict.ARRIVED, id="arrived without rotation"),
        pytest.param(PEER, AFTER, Conflict.PEER_WON, id="a peer exchanged it"),
        pytest.param(PEER, REFUSED, Conflict.PEER_WON, id="a peer did better"),
        pytest.param(
            adopt(parsed_source("human"), ISSUER, NOW, INTENT),
            AFTER,
            Conflict.RESEEDED,
            id="reseeded",
        ),
    ],
)
def test_conflicts_at_commit(stored: Grant | None, after: Grant, wanted: Conflict) -> None:
    assert classify_conflict(stored, INTENT, after) is wanted


def test_without_intents_only_the_token_and_generation_count() -> None:
    after = after_success(ADOPTED, token_document(access_token="a"), NOW, ISSUER, 0.0)
    assert classify_conflict(ADOPTED, ADOPTED, after) is Conflict.REBASE


def histories() -> st.SearchStrategy[list[str]]:
    """What others may do to a grant while our exchange is under way."""
    return st.lists(
        st.sampled_from(["label", "intent", "refuse", "rotate", "renew", "reseed"]), max_size=6
    )


def happened(grant: Grant, history: list[str], issuer: Issuer) -> Grant:
    for number, event in enumerate(history):
        if event == "intent":
            grant = with_intent(grant, f"peer-{number}", "pod-2", NOW, 60.0)
        elif event == "refuse":
            grant = after_failure(grant, Failure(FailureReason.FORBIDDEN), NOW, issuer, 0.0)
        elif event == "rotate":
            fresh = token_document(access_token="a", refresh_token=f"theirs-{number}")
            grant = after_success(grant, fresh, NOW, issuer, 0.0)
        elif event == "renew":
            grant = after_success(grant, token_document(access_token="b"), NOW, issuer, 0.0)
        elif event == "reseed":
            grant = adopt(parsed_source(f"human-{number}"), issuer, NOW + number, grant)
    return grant


@given(histories(), st.booleans(), ISSUERS)
def test_a_commit_is_rebased_exactly_when_nobody_else_got_tokens_or_a_login(
    history: list[str],
    rotates: bool,  # noqa: FBT001 - hypothesis
    issuer: Issuer,
) -> None:
    """Section 4.6: a reply in hand is never dropped for anything less."""
    fields = {"access_token": "mine"} | ({"refresh_token": "mine"} if rotates else {})
    after = after_success(INTENT, token_document(**fields), NOW, issuer, 0.0)
    stored = happened(INTENT, history, issuer)
    conflict = classify_conflict(stored, INTENT, after)
    theirs = {"rotate", "renew", "reseed"} & set(history)
    assert (conflict is Conflict.REBASE) is not bool(theirs)
    if conflict is Conflict.ARRIVED:
        assert (stored.live_hash, stored.generation) == (after.live_hash, after.generation)
    if theirs:
        assert stored.generation >= after.generation
    if history[-1:] == ["reseed"]:
        assert conflict is Conflict.RESEEDED


class TestStepAside:
    def test_a_commit_steps_aside_once_before_it_waits(self, process: Process) -> None:
        cluster, left = process.cluster, 5

        def before(effect: Effect[Any]) -> None:
            nonlocal left
            if left and is_commit(effect):
                left -= 1
                raise StoreUnavailable("down")

        cluster.before = before
        process.reconcile()
        assert live(cluster) == "alice-1"
        assert count(cluster, effects.YieldWorker) == 1
        order = [type(e) for e in cluster.done]
        assert order.index(effects.YieldWorker) < order.index(effects.Wait)

    def test_one_that_succeeds_at_once_does_not(self, running: Process) -> None:
        assert count(running.cluster, effects.YieldWorker) == 0

    def test_waits_grow_while_reading_after_a_conflict_fails(self, process: Process) -> None:
        cluster, left = process.cluster, 5

        def before(effect: Effect[Any]) -> None:
            nonlocal left
            if left and is_commit(effect):
                raise StoreConflict("moved")
            if left and isinstance(effect, effects.GetSecret) and any_sent(cluster):
                left -= 1
                raise StoreUnavailable("down")

        cluster.before = before
        process.reconcile()
        waits = [e.seconds for e in cluster.done if isinstance(e, effects.Wait)]
        assert waits == [0.3125, 0.625, 1.25, 2.5, 5.0]


def test_a_reply_in_hand_outlives_a_grant_deleted_and_an_outage(process: Process) -> None:
    cluster, left = process.cluster, [StoreUnavailable("down"), StoreUnavailable("down")]

    def before(effect: Effect[Any]) -> None:
        if any_sent(cluster) and left and isinstance(effect, effects.CreateSecret):
            raise left.pop()

    cluster.before = before
    cluster.after = once(lambda e: isinstance(e, RequestToken), lambda: delete(cluster, GRANT))
    process.reconcile()
    assert left == []
    assert live(cluster) == "alice-1"
    assert cluster.server.tokens() == ["alice-0"]


class TestConflictsAndOutages:
    def test_a_foreign_write_at_commit_is_rebased_and_the_reply_kept(
        self, process: Process
    ) -> None:
        cluster = process.cluster

        def label() -> None:
            cluster._store(cluster.secrets[GRANT])

        cluster.before = once(is_commit, label)
        process.reconcile()
        assert live(cluster) == mirrored(cluster) == "alice-1"
        assert companion(cluster).status is Status.READY

    def test_a_commit_that_arrived_although_it_failed_is_recognised(self, process: Process) -> None:
        cluster = process.cluster

        def fail() -> None:
            raise StoreUnavailable("connection reset")

        cluster.after = once(is_commit, fail)
        process.reconcile()
        process.run_for(1)
        assert live(cluster) == mirrored(cluster) == "alice-1"
        assert cluster.spool == {}
        assert cluster.server.tokens() == ["alice-0"]

    @pytest.mark.parametrize("times", [1, 7, 100])
    def test_an_outage_during_commit_is_waited_out(self, process: Process, times: int) -> None:
        cluster = process.cluster
        left = times

        def before(effect: Effect[Any]) -> None:
            nonlocal left
            if left and is_commit(effect):
                left -= 1
                raise StoreUnavailable("down")

        cluster.before = before
        process.reconcile()
        assert live(cluster) == mirrored(cluster) == "alice-1"
        waits = [e.seconds for e in cluster.done if isinstance(e, effects.Wait)]
        assert len(waits) == times
        assert max(waits) <= 5

    def test_an_outage_between_conflict_and_reading_is_waited_out(self, process: Process) -> None:
        cluster = process.cluster
        left = [StoreConflict("moved"), StoreUnavailable("down")]

        def before(effect: Effect[Any]) -> None:
            reading = isinstance(effect, effects.GetSecret)
            if left and (is_commit(effect) or (len(left) == 1 and reading)):
                raise left.pop(0)

        cluster.before = before
        process.reconcile()
        assert live(cluster) == "alice-1"

    def test_a_grant_deleted_during_the_exchange_is_made_again_with_the_reply(
        self, process: Process
    ) -> None:
        cluster = process.cluster
        cluster.before = once(is_commit, lambda: delete(cluster, GRANT))
        process.reconcile()
        assert live(cluster) == "alice-1"
        process.run_for(LIFE)
        assert cluster.server.tokens() == ["alice-0", "alice-1"]
        assert companion(cluster).status is Status.READY

    def test_a_frozen_process_stores_its_reply_although_a_peer_took_over(
        self, cluster: VirtualCluster
    ) -> None:
        """The peer is about to present the same token; the reply in hand is worth more."""
        frozen, peer = Process(cluster), Process(cluster, holder="pod-2")

        def take_over() -> None:
            cluster.now += 200
            peer.reconcile()
            cluster.after = once(lambda e: isinstance(e, SpoolWrite), crash)
            with pytest.raises(Crashed):
                peer.run_for(LIFE)

        cluster.before = once(is_commit, take_over)
        frozen.reconcile()
        assert live(cluster) == "alice-1"

    def test_a_peer_that_exchanged_the_same_token_wins(self, running: Process) -> None:
        """On a server with a grace window both get the same token."""
        cluster = running.cluster
        frozen = replace(ISSUER, reuse=1e6)
        running.issuer = frozen
        peer = Process(cluster, holder="pod-2", issuer=frozen)
        cluster.server.window = 1e6

        def take_over() -> None:
            cluster.now += 200
            peer.reconcile()
            peer.run_for(10)

        cluster.before = once(is_commit, take_over)
        running.run_for(LIFE)
        assert live(cluster) == mirrored(cluster) == "alice-2"
        assert grant(cluster).generation == 3
        running.run_for(LIFE)
        assert cluster.spool == {}
        assert live(cluster) == "alice-3"

    def test_where_the_server_forks_the_reply_that_lost_stays_in_the_spool(
        self, running: Process
    ) -> None:
        cluster = running.cluster
        running.issuer = replace(ISSUER, reuse=1e6)
        peer = Process(cluster, holder="pod-2", issuer=running.issuer)
        for token in ("mine", "theirs"):
            cluster.server.script.append(answer(200, {"refresh_token": token, "access_token": "a"}))

        def take_over() -> None:
            cluster.now += 200
            peer.reconcile()
            peer.run_for(10)

        cluster.before = once(is_commit, take_over)
        running.run_for(LIFE - lead_time(LIFE))
        assert live(cluster) == mirrored(cluster) == "theirs"
        running.run_for(1)
        kept = cluster.spool[REF].reply
        assert kept is not None
        assert kept.refresh_token == Sensitive("mine")
