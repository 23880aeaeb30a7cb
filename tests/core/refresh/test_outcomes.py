"""The grant after an outcome without tokens (docs/protocol.md 5, 6)."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.issuers import UNLIMITED, Issuer
from csidriver.core.oauth.token_response import Failure
from csidriver.core.refresh.grant import Grant, with_intent, without_refused_scope
from csidriver.core.refresh.outcomes import (
    OF_GATEWAYS,
    after_failure,
    refusal,
    status_due_at,
    with_status_due,
)
from csidriver.core.refresh.schedule import lead_time, min_interval
from csidriver.core.refresh.transitions import Outcome
from csidriver.core.status import Status
from tests.core.refresh.grants import ADOPTED, AFTER, INTENT, ISSUERS, grants
from tests.core.refresh.virtual_cluster import ISSUER
from tests.core.refresh.virtual_server import START


@given(grants(), st.sampled_from(FailureReason), st.none() | st.floats(0, 1e9), ISSUERS)
def test_no_failure_hastens_or_loses_anything(
    grant: Grant, signal: FailureReason, pause: float | None, issuer: Issuer
) -> None:
    after = after_failure(grant, Failure(signal, pause), START, issuer)
    assert after.document == grant.document
    assert (after.generation, after.spent, after.seeds) == (
        grant.generation,
        grant.spent,
        grant.seeds,
    )
    if after.next_refresh is not None:
        quickest = (
            1.0 if issuer.reuse not in (0.0, UNLIMITED) else min_interval(grant.lifetime or 300.0)
        )
        assert after.next_refresh >= START + quickest - 1e-5
        assert after.next_refresh <= max(START + 3600, grant.expires_at) + 1e-5
    lost = after.status is Status.LOST_ROTATION
    attempts = grant.intent.attempt if grant.intent else 0
    assert not lost or (attempts > 1 and signal is FailureReason.INVALID_GRANT)


@given(grants(), ISSUERS)
def test_a_request_leaves_a_refused_scope_out(grant: Grant, issuer: Issuer) -> None:
    refused = after_failure(grant, Failure(FailureReason.INVALID_SCOPE), START, issuer)
    assert without_refused_scope(refused, issuer) == replace(issuer, scope="")
    assert without_refused_scope(grant, issuer) == issuer


class TestFail:
    def test_it_is_told_without_another_try_once_the_token_is_short(self) -> None:
        """B2: nobody tried again between the failure and the expiry, and Ready stayed."""
        grant = replace(AFTER, issued_at=START, expires_at=START + 3600)
        failed = after_failure(grant, Failure(FailureReason.FORBIDDEN), START, ISSUER)
        at = status_due_at(failed, ISSUER)
        assert at == START + 3600 - lead_time(3600) / 2
        assert with_status_due(failed, ISSUER, at - 1) == failed
        assert with_status_due(failed, ISSUER, at).status is Status.ISSUER_UNAVAILABLE

    @pytest.mark.parametrize("reason", sorted(OF_GATEWAYS, key=str))
    def test_a_gateways_answer_is_believed_after_ten_minutes(self, reason: FailureReason) -> None:
        """B3: a restart of seconds must not cost an hour."""
        grant, at = replace(ADOPTED, expires_at=START + 60.0), START
        while at < START + 600:
            grant = after_failure(grant, Failure(reason), at, ISSUER)
            assert grant.next_refresh is not None
            assert grant.next_refresh - at <= 60 or at >= START + 600
            at = grant.next_refresh
        other = after_failure(grant, Failure(FailureReason.UNREACHABLE), at, ISSUER)
        assert other.next_refresh is not None
        assert other.next_refresh - at <= 60
        grant = after_failure(grant, Failure(reason), at, ISSUER)
        assert grant.next_refresh is not None
        assert 600 <= grant.next_refresh - at <= 3600

    @pytest.mark.parametrize(
        "intent", [ADOPTED, INTENT, with_intent(INTENT, "n2", "p", START, 60.0)]
    )
    def test_a_refusal_after_the_known_end_of_the_login_is_the_end(self, intent: Grant) -> None:
        """B18: a session that ends is no lost rotation."""
        grant = replace(intent, refresh_expires_at=START)
        refused = Failure(FailureReason.INVALID_GRANT)
        after = after_failure(grant, refused, START, ISSUER)
        assert (after.status, after.next_refresh) == (Status.NEEDS_REAUTH, None)
        assert refusal(grant, Outcome.INACTIVE, START) is Outcome.LOGIN_OVER
        assert refusal(grant, Outcome.INACTIVE, START - 1) is Outcome.INACTIVE
