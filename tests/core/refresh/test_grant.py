import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from csidriver.core import annotations
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import SourceRef
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.issuers import UNLIMITED, Issuer
from csidriver.core.oauth.token_document import TokenDocument
from csidriver.core.oauth.token_response import Failure
from csidriver.core.refresh import grant_secret
from csidriver.core.refresh.commit import Conflict, classify_conflict
from csidriver.core.refresh.grant import (
    MAX_SEEDS,
    MAX_SPENT,
    Grant,
    SourceToken,
    adopt,
    compare_source,
    effective_lifetime,
    sendable_refresh_token,
    with_intent,
    without_unsent_attempt,
)
from csidriver.core.refresh.outcomes import after_failure, after_success
from csidriver.core.refresh.source import Client, Source
from csidriver.core.sensitive import Sensitive
from csidriver.core.status import Status, TokenWarning
from csidriver.errors import InvalidSecret

NOW = 1_800_000_000.0
REF = SourceRef("physics", "hello-token")
ISSUER = Issuer("cern", "https://auth.example")


def document(**fields: Any) -> TokenDocument:
    return TokenDocument.parse(Sensitive(json.dumps(fields)))[0]


def source(
    token: str = "seed",  # noqa: S107 - planted
    *,
    trailing: bool = False,
    **fields: Any,
) -> Source:
    return Source(
        ref=REF,
        uid="u1",
        refresh_token=Sensitive(token),
        document=document(refresh_token=token, **fields),
        key="oauth",
        client=Client("my-app", Sensitive("cs-secret")),
        issuer="",
        trailing=trailing,
    )


def jwt(issued: float, expiry: float) -> str:
    claims = json.dumps({"iat": issued, "exp": expiry}).encode()
    return f"e30.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.c2ln"


GRANT = adopt(source(), ISSUER, NOW, None)
LIVE = GRANT.live_hash
INTENT = with_intent(GRANT, "n1", "pod-1", NOW, 60.0)


class TestAdopt:
    def test_an_opaque_access_token_leaves_nodes_waiting(self) -> None:
        grant = adopt(source(access_token="opaque"), ISSUER, NOW, None)
        assert grant.status is Status.PENDING
        assert grant.access_token(NOW) is None
        assert grant.next_refresh == NOW
        assert (grant.generation, grant.seeds, grant.spent) == (1, (LIVE,), ())
        assert effective_lifetime(grant, ISSUER) == ISSUER.default_lifetime

    @pytest.mark.parametrize(
        ("issued", "left", "usable"),
        [
            pytest.param(NOW - 10, 3600, True, id="fresh"),
            pytest.param(NOW - 3600, 31, True, id="31 s left"),
            pytest.param(NOW - 3600, 30, False, id="30 s left"),
            pytest.param(NOW - 9, 11, True, id="short, more than half left"),
            pytest.param(NOW - 11, 9, False, id="short, less than half left"),
            pytest.param(NOW - 3600, -1, False, id="expired"),
            pytest.param(NOW + 100, 50, False, id="expires before it was issued"),
        ],
    )
    def test_a_seeds_jwt_is_used_while_it_lives(
        self, issued: float, left: float, *, usable: bool
    ) -> None:
        grant = adopt(source(access_token=jwt(issued, NOW + left)), ISSUER, NOW, None)
        assert (grant.access_token(NOW) is not None) is usable
        assert grant.status is (Status.READY if usable else Status.PENDING)
        assert grant.lifetime == pytest.approx(NOW + left - issued if usable else 0)

    def test_a_surplus_brace_is_told(self) -> None:
        assert (
            adopt(source(trailing=True), ISSUER, NOW, None).warning
            == TokenWarning.TRAILING_BYTES.value
        )

    def test_a_reseed_spends_what_was_live_and_counts_on(self) -> None:
        grant = adopt(source("second"), ISSUER, NOW, GRANT)
        assert grant.generation == GRANT.generation + 1
        assert grant.spent == (LIVE,)
        assert grant.seeds == (LIVE, grant.live_hash)

    def test_what_earlier_seeds_spent_is_told_apart(self) -> None:
        grant = after_success(
            GRANT, document(access_token="a", refresh_token="r1"), NOW, ISSUER, 0.0
        )
        assert (len(grant.spent), grant.inherited) == (1, 0)
        grant = adopt(source("second"), ISSUER, NOW + 1, grant)
        assert (len(grant.spent), grant.inherited) == (2, 2)
        assert LIVE not in grant.token_hashes
        for number in range(MAX_SPENT + 2):
            reply = document(access_token="a", refresh_token=f"s{number}")
            grant = after_success(grant, reply, NOW, ISSUER, 0.0)
            assert grant.inherited == max(0, min(2, MAX_SPENT - number - 1))
            assert {grant.live_hash, *grant.spent[-5:][grant.inherited :]} <= grant.token_hashes
        assert len(grant.spent) == MAX_SPENT

    def test_memories_are_bounded(self) -> None:
        grant = GRANT
        for number in range(MAX_SEEDS + 10):
            grant = adopt(source(f"seed-{number}"), ISSUER, NOW, grant)
        assert len(grant.seeds) == MAX_SEEDS
        assert len(grant.spent) == MAX_SPENT
        assert grant.live_hash == grant.seeds[-1]

    def test_no_secret_shows(self) -> None:
        shown = repr(adopt(source("rt-secret", access_token="at-secret"), ISSUER, NOW, None))
        assert "-secret" not in shown


class TestJudge:
    @pytest.mark.parametrize(
        ("token", "verdict"),
        [("rotated", SourceToken.LIVE), ("seed", SourceToken.OLD), ("fresh", SourceToken.NEW)],
    )
    def test_verdicts(self, token: str, verdict: SourceToken) -> None:
        grant = after_success(GRANT, document(refresh_token="rotated"), NOW, ISSUER, 0.0)
        assert compare_source(grant, source(token)) is verdict
        assert compare_source(replace(grant, seeds=()), source(token)) is verdict

    @pytest.mark.parametrize(
        ("spent", "sendable"),
        [((), True), (("other",), True), ((LIVE,), False)],
    )
    def test_a_replaced_token_is_not_presentable(
        self, spent: tuple[str, ...], *, sendable: bool
    ) -> None:
        assert (sendable_refresh_token(replace(GRANT, spent=spent)) is not None) is sendable

    def test_no_token_is_not_presentable(self) -> None:
        assert sendable_refresh_token(replace(GRANT, document=document())) is None


class TestIntent:
    def test_a_second_attempt_counts_up_and_keeps_the_first_instant(self) -> None:
        again = with_intent(INTENT, "n2", "pod-2", NOW + 50, 60.0).intent
        assert again is not None
        assert (again.attempt, again.first_at, again.started_at) == (2, NOW, NOW + 50)
        assert (again.nonce, again.holder, again.recorded) == ("n2", "pod-2", False)

    def test_an_intent_for_another_token_is_void(self) -> None:
        moved = replace(INTENT, document=document(refresh_token="other"))
        again = with_intent(moved, "n2", "pod-1", NOW + 50, 60.0).intent
        assert again is not None
        assert (again.attempt, again.first_at) == (1, NOW + 50)

    def test_withdrawing_the_first_attempt_leaves_nothing(self) -> None:
        assert without_unsent_attempt(INTENT).intent is None
        assert without_unsent_attempt(GRANT).intent is None

    def test_withdrawing_a_second_attempt_leaves_the_first_unsettled(self) -> None:
        left = without_unsent_attempt(with_intent(INTENT, "n2", "pod-1", NOW, 60.0)).intent
        assert left is not None
        assert (left.attempt, left.recorded) == (1, True)


AFTER = after_success(INTENT, document(refresh_token="mine", access_token="a"), NOW, ISSUER, 0.0)
PEER = after_success(INTENT, document(refresh_token="theirs", access_token="a"), NOW, ISSUER, 0.0)
TAKEN = with_intent(INTENT, "n2", "pod-2", NOW + 100, 60.0)
REFUSED = after_failure(INTENT, Failure(FailureReason.FORBIDDEN), NOW, ISSUER, 0.0)
SAME_RT = after_success(INTENT, document(access_token="a"), NOW, ISSUER, 0.0)


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
            adopt(source("human"), ISSUER, NOW, INTENT), AFTER, Conflict.RESEEDED, id="reseeded"
        ),
    ],
)
def test_conflicts_at_commit(stored: Grant | None, after: Grant, wanted: Conflict) -> None:
    assert classify_conflict(stored, INTENT, after) is wanted


def test_without_intents_only_the_token_and_generation_count() -> None:
    after = after_success(GRANT, document(access_token="a"), NOW, ISSUER, 0.0)
    assert classify_conflict(GRANT, GRANT, after) is Conflict.REBASE


class TestSucceed:
    def test_expiry_counts_from_before_sending(self) -> None:
        reply = document(access_token="a", refresh_token="r", expires_in=600)
        after = after_success(replace(INTENT, failures=5), reply, NOW, ISSUER, 0.0)
        assert (after.issued_at, after.expires_at) == (NOW, NOW + 600)
        assert after.document.value("expires_at") == NOW + 600
        assert after.intent is None
        assert (after.status, after.warning, after.failures) == (Status.READY, "", 0)
        assert after.spent == (LIVE,)

    @pytest.mark.parametrize("expires_in", [0, -1, "soon", None, 1e12, 400 * 86400 + 1])
    def test_a_hostile_lifetime_is_replaced_with_a_warning(self, expires_in: Any) -> None:
        reply = document(access_token="a", expires_in=expires_in)
        after = after_success(INTENT, reply, NOW, ISSUER, 0.0)
        assert after.lifetime == ISSUER.default_lifetime
        assert after.warning == TokenWarning.DEFAULT_LIFETIME.value

    def test_the_shorter_of_reply_and_jwt_counts(self) -> None:
        reply = document(access_token=jwt(NOW, NOW + 120), expires_in=600)
        assert after_success(INTENT, reply, NOW, ISSUER, 0.0).lifetime == 120

    def test_an_unchanged_token_is_not_spent(self) -> None:
        reply = document(access_token="a", refresh_token="seed")
        assert after_success(INTENT, reply, NOW, ISSUER, 0.0).spent == ()

    def test_a_server_with_a_grace_window_may_hand_an_old_token_out_again(self) -> None:
        rotated = after_success(
            GRANT, document(access_token="a", refresh_token="r"), NOW, ISSUER, 0.0
        )
        back = after_success(
            rotated, document(access_token="a", refresh_token="seed"), NOW, ISSUER, 0.0
        )
        assert back.live_hash == LIVE
        assert LIVE not in back.spent
        assert sendable_refresh_token(back) is not None

    def test_without_a_usable_access_token_the_refresh_token_is_kept(self) -> None:
        after = after_success(
            INTENT, document(access_token="a b", refresh_token="r"), NOW, ISSUER, 0.0
        )
        assert after.document.refresh_token == Sensitive("r")
        assert after.status is Status.MISCONFIGURED
        assert after.next_refresh is not None
        assert after.next_refresh > NOW

    @pytest.mark.parametrize("token_type", ["bearer", "BEARER", None])
    def test_bearer_in_any_case(self, token_type: str | None) -> None:
        reply = document(access_token="a", token_type=token_type)
        assert after_success(INTENT, reply, NOW, ISSUER, 0.0).status is Status.READY


class TestFail:
    def test_trouble_of_the_issuer_is_quiet_while_the_token_lives(self) -> None:
        grant = replace(AFTER, issued_at=NOW, expires_at=NOW + 3600)
        early = after_failure(grant, Failure(FailureReason.UNREACHABLE), NOW, ISSUER, 0.0)
        assert (early.status, early.message) == (grant.status, grant.message)
        late = after_failure(grant, Failure(FailureReason.UNREACHABLE), NOW + 3300, ISSUER, 0.0)
        assert late.status is Status.ISSUER_UNAVAILABLE

    def test_a_server_that_never_rotates_has_no_unknown_outcome(self) -> None:
        unlimited = replace(ISSUER, reuse=UNLIMITED)
        after = after_failure(GRANT, Failure(FailureReason.NO_ANSWER), NOW, unlimited, 0.0)
        assert after.status is Status.ISSUER_UNAVAILABLE
        assert after.next_refresh is not None

    def test_a_second_unknown_outcome_waits_for_a_human_where_nobody_can_be_asked(self) -> None:
        silent = Issuer("cern", token_endpoint="https://auth.example/token")
        second = with_intent(INTENT, "n2", "pod-1", NOW, 60.0)
        after = after_failure(second, Failure(FailureReason.NO_ANSWER), NOW, silent, 0.0)
        assert (after.status, after.next_refresh) == (Status.UNCERTAIN, None)

    def test_unknown_without_an_intent_waits_for_a_human(self) -> None:
        after = after_failure(GRANT, Failure(FailureReason.NO_ANSWER), NOW, ISSUER, 0.0)
        assert (after.status, after.next_refresh) == (Status.UNCERTAIN, None)

    @pytest.mark.parametrize(
        "signal",
        [
            s
            for s in FailureReason
            if s not in (FailureReason.INVALID_GRANT, FailureReason.LOGIN_REQUIRED)
        ],
    )
    def test_only_a_refused_repetition_is_a_lost_rotation(self, signal: FailureReason) -> None:
        second = with_intent(INTENT, "n2", "pod-1", NOW, 60.0)
        assert after_failure(second, Failure(signal), NOW, ISSUER, 0.0).status is Status.UNCERTAIN
        lost = after_failure(second, Failure(FailureReason.INVALID_GRANT), NOW, ISSUER, 0.0)
        assert (lost.status, lost.next_refresh) == (Status.LOST_ROTATION, None)
        assert (
            after_failure(INTENT, Failure(signal), NOW, ISSUER, 0.0).status
            is not Status.LOST_ROTATION
        )

    def test_a_repetition_that_demands_a_login_says_so(self) -> None:
        second = with_intent(INTENT, "n2", "pod-1", NOW, 60.0)
        after = after_failure(second, Failure(FailureReason.LOGIN_REQUIRED), NOW, ISSUER, 0.0)
        assert (after.status, after.next_refresh) == (Status.NEEDS_REAUTH, None)

    def test_quick_tries_are_not_used_up_by_an_outage_before_them(self) -> None:
        grant = GRANT
        for _ in range(6):
            grant = after_failure(grant, Failure(FailureReason.UNREACHABLE), NOW, ISSUER, 0.0)
        after = after_failure(grant, Failure(FailureReason.INVALID_CLIENT), NOW, ISSUER, 0.0)
        assert after.next_refresh is not None
        assert after.next_refresh - NOW < 60

    @pytest.mark.parametrize("signal", FailureReason)
    def test_a_failure_takes_nothing_away(self, signal: FailureReason) -> None:
        after = after_failure(INTENT, Failure(signal), NOW, ISSUER, 0.5)
        assert after.document == INTENT.document
        assert (after.generation, after.seeds, after.spent) == (
            INTENT.generation,
            INTENT.seeds,
            INTENT.spent,
        )


class TestCustody:
    @pytest.mark.parametrize(
        "grant",
        [
            pytest.param(GRANT, id="new"),
            pytest.param(INTENT, id="with intent"),
            pytest.param(AFTER, id="refreshed"),
            pytest.param(
                after_failure(INTENT, Failure(FailureReason.NO_ANSWER), NOW, ISSUER, 0.0),
                id="uncertain",
            ),
            pytest.param(replace(AFTER, next_refresh=None, warning="W", message="é"), id="stopped"),
            pytest.param(
                replace(GRANT, client=Client("public", Sensitive("")), source_version="7"),
                id="public client",
            ),
        ],
    )
    def test_round_trip_through_a_manifest(self, grant: Grant) -> None:
        manifest = grant_secret.to_secret(grant, "oauth2-csi").to_manifest()
        assert grant_secret.from_secret(Secret.from_manifest(manifest)) == grant

    @pytest.mark.parametrize(
        "change",
        [
            pytest.param({"document": None}, id="no document"),
            pytest.param({"document": "rt-secret"}, id="document no json"),
            pytest.param({"state": None}, id="no state"),
            pytest.param({"state": "rt-secret"}, id="state no json"),
            pytest.param({"state": "[]"}, id="state no object"),
            pytest.param({"state": "{}"}, id="state empty"),
            pytest.param({"state": '{"version": 2}'}, id="another version"),
            pytest.param({"state": '{"version": []}'}, id="version no number"),
            pytest.param({"clientID": None}, id="no client"),
            pytest.param({"clientSecret": None}, id="no client secret"),
        ],
    )
    def test_a_damaged_one_is_refused_without_quoting(self, change: dict[str, str | None]) -> None:
        stored = grant_secret.to_secret(GRANT, "oauth2-csi")
        texts = {key: value.reveal() for key, value in stored.data.items()} | change
        data = {key: Sensitive(text) for key, text in texts.items() if text is not None}
        self.refused(replace(stored, data=data))

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            *[(key, None) for key in ("source", "issuer", "generation", "seeds", "status")],
            *[(key, "rt-secret") for key in ("source", "generation", "issuedAt", "status")],
            *[(key, 5) for key in ("source", "issuer", "seeds", "spent", "intent", "status")],
            ("intent", {"nonce": "rt-secret"}),
            ("nextRefresh", "rt-secret"),
        ],
    )
    def test_damaged_state(self, key: str, value: Any) -> None:
        stored = grant_secret.to_secret(GRANT, "oauth2-csi")
        state = json.loads(stored.data["state"].reveal()) | {key: value}
        self.refused(replace(stored, data={**stored.data, "state": Sensitive(json.dumps(state))}))

    def test_another_type_is_refused(self) -> None:
        self.refused(replace(grant_secret.to_secret(GRANT, "oauth2-csi"), type="Opaque"))

    def refused(self, secret: Secret) -> None:
        with pytest.raises(InvalidSecret) as caught:
            grant_secret.from_secret(secret)
        assert "rt-secret" not in str(caught.value)
        assert REF.grant in str(caught.value)

    def test_the_secret_names_its_source(self) -> None:
        stored = grant_secret.to_secret(GRANT, "oauth2-csi")
        assert stored.annotations[annotations.SOURCE_NAME] == REF.name
        assert (stored.namespace, stored.name) == ("oauth2-csi", f"grant-{REF.id}")
