from dataclasses import replace

import pytest

from csidriver.core.refresh.grant import (
    MAX_SPENT,
    SourceToken,
    adopt,
    compare_source,
    effective_lifetime,
    sendable_refresh_token,
    with_intent,
    without_unsent_attempt,
)
from csidriver.core.refresh.new_tokens import after_success
from csidriver.core.status import Status
from tests.core.refresh.grants import ADOPTED, INTENT, LIVE, jwt, parsed_source, token_document
from tests.core.refresh.virtual_cluster import ISSUER
from tests.core.refresh.virtual_server import START


class TestAdopt:
    def test_an_opaque_access_token_leaves_nodes_waiting(self) -> None:
        grant = adopt(parsed_source(access_token="opaque"), ISSUER, START, None)
        assert grant.status is Status.PENDING
        assert grant.access_token(START) is None
        assert grant.next_refresh == START
        assert (grant.generation, grant.seeds, grant.spent) == (1, (LIVE,), ())
        assert effective_lifetime(grant, ISSUER) == ISSUER.default_lifetime

    @pytest.mark.parametrize(
        ("issued", "left", "usable"),
        [
            pytest.param(START - 10, 3600, True, id="fresh"),
            pytest.param(START - 3600, 31, True, id="31 s left"),
            pytest.param(START - 3600, 30, False, id="30 s left"),
            pytest.param(START - 11, 9, False, id="short, less than half left"),
            pytest.param(START - 3600, -1, False, id="expired"),
        ],
    )
    def test_a_seeds_jwt_is_used(self, issued: float, left: float, *, usable: bool) -> None:
        grant = adopt(
            parsed_source(access_token=jwt(iat=issued, exp=START + left)), ISSUER, START, None
        )
        assert (grant.access_token(START) is not None) is usable
        assert grant.status is (Status.READY if usable else Status.PENDING)
        assert grant.lifetime == pytest.approx(START + left - issued if usable else 0)

    @pytest.mark.parametrize("status", Status)
    def test_a_message_names_the_issuer_and_the_command(self, status: Status) -> None:
        message = replace(ADOPTED, status=status, message="a text").user_message
        own = (Status.PENDING, Status.READY, Status.DUPLICATE_GRANT, Status.WAITS_FOR_LOGIN)
        assert message.startswith("a text" if status in own else "issuer 'cern': a text")
        ended = (Status.NEEDS_REAUTH, Status.LOST_ROTATION)
        by_login = (*ended, Status.UNCERTAIN, Status.DUPLICATE_GRANT)
        command = "; run: kubectl oauth2-csi login hello-token -n physics"
        assert message.endswith("a text" + (command if status in by_login else ""))

    def test_a_reseed_spends_what_was_live_and_counts_on(self) -> None:
        grant = adopt(parsed_source("second"), ISSUER, START, ADOPTED)
        assert grant.generation == ADOPTED.generation + 1
        assert grant.spent == (LIVE,)
        assert grant.seeds == (LIVE, grant.live_hash)

    def test_what_earlier_seeds_spent_is_told_apart(self) -> None:
        grant = after_success(
            ADOPTED, token_document(access_token="a", refresh_token="r1"), START, ISSUER
        )
        assert (len(grant.spent), grant.inherited) == (1, 0)
        grant = adopt(parsed_source("second"), ISSUER, START + 1, grant)
        assert (len(grant.spent), grant.inherited) == (2, 2)
        assert LIVE not in grant.token_hashes
        for number in range(MAX_SPENT + 2):
            reply = token_document(access_token="a", refresh_token=f"s{number}")
            grant = after_success(grant, reply, START, ISSUER)
            assert grant.inherited == max(0, min(2, MAX_SPENT - number - 1))
            assert {grant.live_hash, *grant.spent[-5:][grant.inherited :]} <= grant.token_hashes
        assert len(grant.spent) == MAX_SPENT


class TestJudge:
    @pytest.mark.parametrize(
        ("token", "verdict"),
        [("rotated", SourceToken.LIVE), ("seed", SourceToken.OLD), ("fresh", SourceToken.NEW)],
    )
    def test_verdicts(self, token: str, verdict: SourceToken) -> None:
        grant = after_success(ADOPTED, token_document(refresh_token="rotated"), START, ISSUER)
        assert compare_source(grant, parsed_source(token)) is verdict
        assert compare_source(replace(grant, seeds=()), parsed_source(token)) is verdict

    @pytest.mark.parametrize(
        ("spent", "sendable"), [((), True), (("other",), True), ((LIVE,), False)]
    )
    def test_a_replaced_token_is_not_sent(self, spent: tuple[str, ...], *, sendable: bool) -> None:
        assert (sendable_refresh_token(replace(ADOPTED, spent=spent)) is not None) is sendable
        assert sendable_refresh_token(replace(ADOPTED, document=token_document())) is None


class TestIntent:
    def test_an_intent_for_another_token_is_void(self) -> None:
        moved = replace(INTENT, document=token_document(refresh_token="other"))
        again = with_intent(moved, "n2", "pod-1", START + 50, 60.0).intent
        assert again is not None
        assert (again.attempt, again.first_at) == (1, START + 50)

    def test_an_unsent_attempt_leaves_the_one_before_unsettled(self) -> None:
        assert without_unsent_attempt(INTENT).intent is None
        assert without_unsent_attempt(ADOPTED).intent is None
        left = without_unsent_attempt(with_intent(INTENT, "n2", "pod-1", START, 60.0)).intent
        assert left is not None
        assert (left.attempt, left.recorded) == (1, True)
