"""Conflicts and outages while an outcome is stored (docs/protocol.md 4.6)."""

import contextlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.token_response import Failure
from csidriver.core.refresh import effects
from csidriver.core.refresh.commit import may_rebase
from csidriver.core.refresh.effects import Effect
from csidriver.core.refresh.grant import Grant, adopt, with_intent
from csidriver.core.refresh.new_tokens import after_success
from csidriver.core.refresh.outcomes import after_failure
from csidriver.core.refresh.schedule import lead_time
from csidriver.errors import StoreConflict, StoreError, StoreRefused, StoreUnavailable
from tests.core.refresh.grants import INTENT, ISSUERS, parsed_source, token_document
from tests.core.refresh.hooks import is_commit, once
from tests.core.refresh.virtual_cluster import GRANT, ISSUER, LIFE, Process, VirtualCluster
from tests.core.refresh.virtual_server import START, answer

TAKEN = with_intent(INTENT, "n2", "pod-2", START + 100, 60.0)
REFUSED = after_failure(INTENT, Failure(FailureReason.FORBIDDEN), START, ISSUER)


def test_an_attempt_that_was_taken_over_with_nothing_in_hand_gives_way() -> None:
    assert not may_rebase(TAKEN, INTENT, REFUSED)


def histories() -> st.SearchStrategy[list[str]]:
    """What others may do to a grant while our exchange is under way."""
    return st.lists(
        st.sampled_from(["label", "intent", "refuse", "rotate", "renew", "reseed"]), max_size=6
    )


def happened(grant: Grant, history: list[str], issuer: Issuer) -> Grant:
    for number, event in enumerate(history):
        if event == "intent":
            grant = with_intent(grant, f"peer-{number}", "pod-2", START, 60.0)
        elif event == "refuse":
            grant = after_failure(grant, Failure(FailureReason.FORBIDDEN), START, issuer)
        elif event == "rotate":
            fresh = token_document(access_token="a", refresh_token=f"theirs-{number}")
            grant = after_success(grant, fresh, START, issuer)
        elif event == "renew":
            grant = after_success(grant, token_document(access_token="b"), START, issuer)
        elif event == "reseed":
            grant = adopt(parsed_source(f"human-{number}"), issuer, START + number, grant)
    return grant


@given(histories(), st.booleans(), ISSUERS)
def test_a_commit_is_rebased_exactly_when_nobody_else_got_tokens_or_a_login(
    history: list[str],
    rotates: bool,  # noqa: FBT001 - hypothesis
    issuer: Issuer,
) -> None:
    """Section 4.6: a reply in hand is never dropped for anything less."""
    fields = {"access_token": "mine"} | ({"refresh_token": "mine"} if rotates else {})
    after = after_success(INTENT, token_document(**fields), START, issuer)
    stored = happened(INTENT, history, issuer)
    theirs = {"rotate", "renew", "reseed"} & set(history)
    assert may_rebase(stored, INTENT, after) is not bool(theirs)
    if theirs:
        assert stored.generation >= after.generation


def fail_commits(cluster: VirtualCluster, *errors: StoreError) -> list[StoreError]:
    """Fail the next reads and writes of a commit; return the errors that are left."""
    left = list(errors)

    def before(effect: Effect[Any]) -> None:
        reads = isinstance(effect, effects.GetSecret | effects.CreateSecret)
        if left and cluster.count(effects.RequestToken) and (reads or is_commit(effect)):
            raise left.pop(0)

    cluster.before = before
    return left


class TestConflictsAndOutages:
    def test_a_commit_that_arrived_although_it_failed_is_recognised(self, process: Process) -> None:
        cluster = process.cluster

        def fail() -> None:
            raise StoreUnavailable("connection reset")

        cluster.after = once(is_commit, fail)
        with pytest.raises(StoreUnavailable):
            process.reconcile()
        process.reconcile()
        assert cluster.live() == cluster.mirrored() == "alice-1"
        assert cluster.spool == {}
        assert cluster.server.tokens() == ["alice-0"]

    @pytest.mark.parametrize(
        "errors",
        [
            [StoreUnavailable("down")] * 7,
            [StoreConflict("moved"), StoreUnavailable("down")],
            [StoreRefused("not allowed")],
        ],
        ids=["outage", "outage after a conflict", "refused"],
    )
    def test_an_outcome_that_could_not_be_stored_is_stored_by_the_next_reconciliation(
        self, process: Process, errors: list[StoreError]
    ) -> None:
        cluster = process.cluster
        left = fail_commits(cluster, *errors)
        while left:
            with contextlib.suppress(StoreError):
                process.reconcile()
        process.reconcile()
        assert cluster.live() == cluster.mirrored() == "alice-1"
        assert cluster.server.tokens() == ["alice-0"]
        assert cluster.spool == {}

    def test_a_grant_deleted_during_the_exchange_is_made_again(self, process: Process) -> None:
        cluster = process.cluster
        cluster.before = once(is_commit, lambda: cluster.secrets.pop(GRANT))
        process.reconcile()
        assert cluster.live() == "alice-1"
        process.run_for(LIFE)
        assert cluster.server.tokens() == ["alice-0", "alice-1"]

    def test_a_peer_that_exchanged_the_same_token_wins(self, running: Process) -> None:
        """On a server with a grace window both may get one each."""
        cluster = running.cluster
        running.issuer = replace(ISSUER, reuse=1e6)
        peer = Process(cluster, holder="pod-2", issuer=running.issuer)
        cluster.server.window = 1e6
        fork = [{"refresh_token": name, "access_token": "a"} for name in ("mine", "theirs")]
        cluster.server.script += [answer(200, reply) for reply in fork]

        def take_over() -> None:
            cluster.now += 200
            peer.reconcile()
            peer.run_for(10)

        cluster.before = once(is_commit, take_over)
        running.run_for(LIFE - lead_time(LIFE))
        assert cluster.live() == cluster.mirrored() == "theirs"
        assert cluster.grant().generation == 3
        running.run_for(1)
        assert cluster.spool == {}
