"""Attempts that a changed issuer or a user's request hastens (docs/protocol.md 5)."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.refresh.grant import Grant
from csidriver.core.refresh.schedule import (
    min_interval,
    reschedule_if_obsolete,
    reschedule_if_requested,
)
from csidriver.core.status import Status
from tests.core.refresh.grants import ADOPTED, ISSUERS, grants
from tests.core.refresh.virtual_server import START


@given(grants(), ISSUERS, ISSUERS)
def test_a_new_configuration_hastens_once(grant: Grant, old: Issuer, new: Issuer) -> None:
    grant = replace(grant, fingerprint=old.fingerprint, next_refresh=START + 1800)
    after = reschedule_if_obsolete(grant, new, START)
    assert reschedule_if_obsolete(after, new, START + 5) == after
    assert after.next_refresh in (
        START + 1800,
        START + min_interval(grant.lifetime or new.default_lifetime),
    )
    if old == new:
        assert after == grant
    if after != grant:
        assert (after.failures, after.failure_reason) == (0, None)


@given(grants(), st.none() | st.floats(START - 100, START + 1e6), st.floats(1.0, 1e9))
def test_a_request_only_ever_hastens_a_working_token_and_only_once(
    grant: Grant, planned: float | None, requested_at: float
) -> None:
    grant = replace(grant, next_refresh=planned)
    after = reschedule_if_requested(grant, requested_at, START)
    assert reschedule_if_requested(after, requested_at, START + 5) == after
    assert after == replace(
        grant, refresh_requested_at=requested_at, next_refresh=after.next_refresh
    )
    if after.next_refresh != planned:
        assert (grant.status, grant.failures) == (Status.READY, 0)
        assert after.next_refresh is not None
        assert max(START, grant.issued_at + min_interval(grant.lifetime)) == after.next_refresh


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
    grant = replace(ADOPTED, failure_reason=signal, fingerprint="before", next_refresh=START + 1800)
    assert reschedule_if_obsolete(grant, Issuer("cern", "https://auth.example"), START) == grant
