from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.issuers import MAX_LIFETIME, Issuer
from csidriver.core.oauth.jwt import JwtClaims
from csidriver.core.refresh.schedule import (
    RequestTimeouts,
    http_timeout,
    lead_time,
    min_interval,
    next_refresh_at,
    reschedule_if_obsolete,
    slow_delay,
    takeover_after,
    token_lifetime,
    transient_delay,
)
from tests.core.refresh.grants import ADOPTED
from tests.core.refresh.virtual_server import START

UNIT = st.floats(0.0, 1.0, exclude_max=True)
LIVES = st.floats(1.0, MAX_LIFETIME)
MINIMUM = st.floats(0.0, 1e6)


@pytest.mark.parametrize(
    ("life", "minimum", "wanted"),
    [
        (10, 0, 5),
        (600, 0, 120),
        (3600, 0, 720),
        (3600, 900, 900),
        (3600, 9999, 1800),
        (86400, 0, 17280),
    ],
)
def test_lead(life: float, minimum: float, wanted: float) -> None:
    assert lead_time(life, minimum) == wanted


@given(LIVES, UNIT, MINIMUM, st.floats(-1e12, 1e12))
def test_due_is_neither_too_early_nor_too_late(
    life: float, u: float, minimum: float, refresh_life: float
) -> None:
    at = (
        next_refresh_at(START, life, u=u, minimum=minimum, refresh_token_lifetime=refresh_life)
        - START
    )
    slack = 1e-5
    assert at >= life / 4 - slack
    assert at >= min_interval(life) - slack
    assert at <= max(life - lead_time(life, minimum), min_interval(life)) + slack
    assert at <= 7 * 86400 or refresh_life > 0 or at == pytest.approx(life / 4)


@pytest.mark.parametrize(
    ("refresh_life", "wanted"),
    [(0, 604800), (-5, 604800), (86400, 172800), (691200, 345600), (1e12, 552960)],
)
def test_a_refresh_token_is_used_in_time(refresh_life: float, wanted: float) -> None:
    """An access token of 8 days; never before a quarter of its life."""
    life = 8 * 86400.0 if refresh_life > 0 else 20 * 86400.0
    at = next_refresh_at(START, life, u=0.0, refresh_token_lifetime=refresh_life) - START
    assert at == wanted


def test_the_operators_limits_lower_the_timeouts() -> None:
    assert http_timeout(86400, RequestTimeouts(http_timeout=3)) == 3
    assert takeover_after(86400, RequestTimeouts(http_timeout=3, takeover_after=30)) == 30
    assert takeover_after(86400, RequestTimeouts(http_timeout=20, takeover_after=1)) == 45


@pytest.mark.parametrize(
    ("said", "issued", "expiry", "wanted"),
    [
        (300, None, None, 300),
        (300, 100, 700, 300),
        (None, None, 1700, 700),
        (None, None, 900, None),
        (None, None, 1000 + MAX_LIFETIME + 1, None),
        (-1, None, None, None),
        (MAX_LIFETIME + 1, 100, 700, 600),
        (MAX_LIFETIME, None, None, MAX_LIFETIME),
    ],
)
def test_lifetime_is_the_shorter_of_what_is_credible(
    said: float | None, issued: float | None, expiry: float | None, wanted: float | None
) -> None:
    assert token_lifetime(said, JwtClaims(iat=issued, exp=expiry), 1000) == wanted


@pytest.mark.parametrize(("life", "wanted"), [(20, 5), (39, 9.75), (40, 10), (3600, 10)])
def test_gap_between_two_sends(life: float, wanted: float) -> None:
    assert min_interval(life) == wanted


def test_transient_delays_double_and_are_bounded_by_what_the_token_has_left() -> None:
    delays = [transient_delay(n, 1.0, 1000.0, 3600.0) for n in range(1, 10)]
    assert delays == [10, 10, 10, 16, 32, 64, 128, 250, 250]
    assert transient_delay(20, 1.0, 86400.0, 86400.0) == 300
    assert transient_delay(20, 1.0, 100.0, 3600.0) == 25
    assert transient_delay(20, 1.0, 0.0, 3600.0) == 45


def test_slow_delays_are_as_long_again() -> None:
    at, delays = 0.0, []
    for _ in range(6):
        delays.append(slow_delay(at))
        at += delays[-1]
    assert delays == [300, 300, 600, 1200, 2400, 3600]


@pytest.mark.parametrize("signal", [FailureReason.UNREACHABLE, FailureReason.INVALID_GRANT])
def test_what_no_configuration_can_mend_is_not_hastened(signal: FailureReason) -> None:
    grant = replace(ADOPTED, failure_reason=signal, fingerprint="before", next_refresh=START + 1800)
    assert reschedule_if_obsolete(grant, Issuer("cern", "https://auth.example"), START) == grant
