"""The grant after a token request: examples and properties (docs/protocol.md 4.5, 5)."""

import base64
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.issuers import MAX_LIFETIME, UNLIMITED, Issuer
from csidriver.core.oauth.token_response import Failure
from csidriver.core.refresh.grant import Grant, sendable_refresh_token, with_intent
from csidriver.core.refresh.outcomes import (
    after_failure,
    after_success,
    reschedule_if_obsolete,
    without_refused_scope,
)
from csidriver.core.refresh.schedule import min_interval
from csidriver.core.sensitive import Sensitive
from csidriver.core.status import Status, TokenWarning
from tests.core.refresh.grants import (
    ADOPTED,
    AFTER,
    INTENT,
    ISSUERS,
    LIVE,
    UNIT,
    jwt,
    token_document,
)
from tests.core.refresh.virtual_cluster import ISSUER
from tests.core.refresh.virtual_cluster import START as NOW

HOSTILE: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from([0, -1, 1, None, "300", "soon", 1e12, True, [], 1e308, -0.0, 0.5]),
    st.integers(-(10**12), 10**12),
    st.floats(allow_nan=False, allow_infinity=False),
)


@given(HOSTILE, HOSTILE, UNIT, ISSUERS)
def test_no_lifetime_makes_a_hot_loop_or_a_refresh_that_never_comes(
    expires_in: Any, refresh_expires_in: Any, u: float, issuer: Issuer
) -> None:
    """F17."""
    reply = token_document(
        access_token="a", expires_in=expires_in, refresh_expires_in=refresh_expires_in
    )
    after = after_success(INTENT, reply, NOW, issuer, u)
    assert after.status is Status.READY
    assert 1 <= after.lifetime <= MAX_LIFETIME + 1e-3
    assert after.next_refresh is not None
    wait = after.next_refresh - NOW
    assert max(1.0, min(10.0, after.lifetime / 4)) - 1e-5 <= wait
    assert wait <= max(1.0, after.lifetime) + 1e-5


def grants() -> st.SearchStrategy[Grant]:
    """Grants in the middle of something."""
    return st.builds(
        lambda base, status, failures, reason, issued, life: replace(
            base,
            status=status,
            failures=failures,
            failure_reason=reason,
            issued_at=issued,
            expires_at=issued + life,
        ),
        st.sampled_from([ADOPTED, INTENT, with_intent(INTENT, "n2", "pod-1", NOW - 100, 60.0)]),
        st.sampled_from([Status.READY, Status.UNCERTAIN, Status.NEEDS_REAUTH, Status.PENDING]),
        st.integers(0, 10),
        st.none() | st.sampled_from(FailureReason),
        st.floats(NOW - 86400, NOW),
        st.sampled_from([0.0, 1.0, 20.0, 300.0, 3600.0, 86400.0]),
    )


@given(grants(), st.sampled_from(FailureReason), st.none() | st.floats(0, 1e9), ISSUERS, UNIT)
def test_no_failure_hastens_or_loses_anything(
    grant: Grant, signal: FailureReason, pause: float | None, issuer: Issuer, u: float
) -> None:
    after = after_failure(grant, Failure(signal, pause), NOW, issuer, u)
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
        assert after.next_refresh >= NOW + quickest - 1e-5
        assert after.next_refresh <= max(NOW + 3600, grant.expires_at) + 1e-5
    lost = after.status is Status.LOST_ROTATION
    attempts = grant.intent.attempt if grant.intent else 0
    assert not lost or (attempts > 1 and signal is FailureReason.INVALID_GRANT)


@given(grants(), ISSUERS, ISSUERS)
def test_a_new_configuration_only_ever_hastens_and_only_once(
    grant: Grant, old: Issuer, new: Issuer
) -> None:
    grant = replace(grant, fingerprint=old.fingerprint, next_refresh=NOW + 1800)
    after = reschedule_if_obsolete(grant, new, NOW)
    assert reschedule_if_obsolete(after, new, NOW + 5) == after
    assert after.next_refresh in (
        NOW + 1800,
        NOW + min_interval(grant.lifetime or new.default_lifetime),
    )
    if old == new:
        assert after == grant
    if after != grant:
        assert (after.failures, after.failure_reason) == (0, None)


@pytest.mark.parametrize(
    "signal",
    [
        FailureReason.THROTTLED,
        FailureReason.UNREACHABLE,
        FailureReason.INVALID_GRANT,
        FailureReason.LOGIN_REQUIRED,
    ],
)
def test_what_no_configuration_can_mend_is_not_hastened(signal: FailureReason) -> None:
    grant = replace(ADOPTED, failure_reason=signal, fingerprint="before", next_refresh=NOW + 1800)
    assert reschedule_if_obsolete(grant, Issuer("cern", "https://auth.example"), NOW) == grant


@given(grants(), ISSUERS)
def test_a_request_differs_from_the_configuration_in_a_refused_scope_alone(
    grant: Grant, issuer: Issuer
) -> None:
    refused = after_failure(grant, Failure(FailureReason.INVALID_SCOPE), NOW, issuer, 0.0)
    assert without_refused_scope(refused, issuer) == replace(issuer, scope="")
    assert without_refused_scope(grant, issuer) == issuer


class TestSucceed:
    def test_expiry_counts_from_before_sending(self) -> None:
        reply = token_document(access_token="a", refresh_token="r", expires_in=600)
        after = after_success(replace(INTENT, failures=5), reply, NOW, ISSUER, 0.0)
        assert (after.issued_at, after.expires_at) == (NOW, NOW + 600)
        assert after.document.value("expires_at") == NOW + 600
        assert after.intent is None
        assert (after.status, after.warning, after.failures) == (Status.READY, "", 0)
        assert after.spent == (LIVE,)

    @pytest.mark.parametrize("expires_in", [0, -1, "soon", None, 1e12, 400 * 86400 + 1])
    def test_a_hostile_lifetime_is_replaced_with_a_warning(self, expires_in: Any) -> None:
        reply = token_document(access_token="a", expires_in=expires_in)
        after = after_success(INTENT, reply, NOW, ISSUER, 0.0)
        assert after.lifetime == ISSUER.default_lifetime
        assert after.warning == TokenWarning.DEFAULT_LIFETIME.value

    def test_the_shorter_of_reply_and_jwt_counts(self) -> None:
        reply = token_document(access_token=jwt(NOW, NOW + 120), expires_in=600)
        assert after_success(INTENT, reply, NOW, ISSUER, 0.0).lifetime == 120

    def test_an_unchanged_token_is_not_spent(self) -> None:
        reply = token_document(access_token="a", refresh_token="seed")
        assert after_success(INTENT, reply, NOW, ISSUER, 0.0).spent == ()

    def test_a_server_with_a_grace_window_may_hand_an_old_token_out_again(self) -> None:
        rotated = after_success(
            ADOPTED, token_document(access_token="a", refresh_token="r"), NOW, ISSUER, 0.0
        )
        back = after_success(
            rotated, token_document(access_token="a", refresh_token="seed"), NOW, ISSUER, 0.0
        )
        assert back.live_hash == LIVE
        assert LIVE not in back.spent
        assert sendable_refresh_token(back) is not None

    def test_without_a_usable_access_token_the_refresh_token_is_kept(self) -> None:
        after = after_success(
            INTENT, token_document(access_token="a b", refresh_token="r"), NOW, ISSUER, 0.0
        )
        assert after.document.refresh_token == Sensitive("r")
        assert after.status is Status.MISCONFIGURED
        assert after.next_refresh is not None
        assert after.next_refresh > NOW

    @pytest.mark.parametrize("token_type", ["bearer", "BEARER", None])
    def test_bearer_in_any_case(self, token_type: str | None) -> None:
        reply = token_document(access_token="a", token_type=token_type)
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
        after = after_failure(ADOPTED, Failure(FailureReason.NO_ANSWER), NOW, unlimited, 0.0)
        assert after.status is Status.ISSUER_UNAVAILABLE
        assert after.next_refresh is not None

    def test_a_second_unknown_outcome_waits_for_a_human_where_nobody_can_be_asked(self) -> None:
        silent = Issuer("cern", token_endpoint="https://auth.example/token")
        second = with_intent(INTENT, "n2", "pod-1", NOW, 60.0)
        after = after_failure(second, Failure(FailureReason.NO_ANSWER), NOW, silent, 0.0)
        assert (after.status, after.next_refresh) == (Status.UNCERTAIN, None)

    def test_unknown_without_an_intent_waits_for_a_human(self) -> None:
        after = after_failure(ADOPTED, Failure(FailureReason.NO_ANSWER), NOW, ISSUER, 0.0)
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
        grant = ADOPTED
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


def test_a_jwt_without_iat_ends_when_it_says() -> None:
    claims = base64.urlsafe_b64encode(b'{"exp": %d}' % (NOW + 20)).decode().rstrip("=")
    reply = token_document(access_token=f"e30.{claims}.c2ln")
    after = after_success(INTENT, reply, NOW, ISSUER, 0.0)
    assert (after.expires_at, after.warning) == (NOW + 20, "")
