from dataclasses import replace

import pytest

from csidriver.core.companion import AccessToken, Companion
from csidriver.core.names import SourceRef
from csidriver.core.sensitive import Sensitive
from csidriver.core.status import Status
from csidriver.core.volume.readiness import (
    ObservedCompanion,
    can_stop_waiting,
    expired_error,
    is_valid_for_start,
    missing_error,
    unavailable_error,
)
from csidriver.errors import (
    DriverError,
    InvalidSecret,
    NotReady,
    StoreRefused,
    StoreUnavailable,
    TokenUnavailable,
)

NOW = 1_800_000_000.0
REF = SourceRef("physics", "hello-token")
TOKEN = AccessToken(Sensitive("planted-at"), "Bearer", NOW - 60, NOW + 3600)
COMPANION = Companion(REF, "u1", 7, Status.READY, "ready", NOW + 1800, TOKEN)
NO_TOKEN = replace(COMPANION, status=Status.PENDING, message="not yet", token=None)
OVER = replace(COMPANION, status=Status.NEEDS_REAUTH, message="log in again", next_refresh=0.0)

READY = ObservedCompanion(answered=True, companion=COMPANION)
REFUSED = ObservedCompanion(error=StoreRefused("forbidden"))
UNREACHABLE = ObservedCompanion(error=StoreUnavailable("no route"))


@pytest.mark.parametrize(
    ("lifetime", "left", "wanted", "valid"),
    [
        pytest.param(3600.0, 30.0, None, True, id="just long enough"),
        pytest.param(3600.0, 29.9, None, False, id="too short"),
        pytest.param(60.0, 15.0, None, True, id="a quarter of a short life"),
        pytest.param(60.0, 14.9, None, False, id="less than a quarter"),
        pytest.param(3600.0, 29.9, 20.0, True, id="long enough for this pod"),
        pytest.param(3600.0, 0.0, 0.0, False, id="expired, whatever the pod wants"),
    ],
)
def test_a_pod_starts_with_a_token_that_lives_long_enough(
    lifetime: float, left: float, wanted: float | None, *, valid: bool
) -> None:
    token = replace(TOKEN, issued_at=TOKEN.expires_at - lifetime)
    observed = replace(READY, companion=replace(COMPANION, token=token))
    assert is_valid_for_start(observed, TOKEN.expires_at - left, wanted) is valid


@pytest.mark.parametrize(
    ("observed", "stop"),
    [
        pytest.param(READY, True, id="valid"),
        pytest.param(ObservedCompanion(answered=True), False, id="no companion"),
        pytest.param(replace(READY, companion=NO_TOKEN), False, id="no token yet"),
        pytest.param(replace(READY, companion=OVER), True, id="only the user can help"),
        pytest.param(REFUSED, True, id="no access"),
        pytest.param(UNREACHABLE, False, id="backend down"),
    ],
)
def test_waiting_ends_when_it_cannot_help(observed: ObservedCompanion, *, stop: bool) -> None:
    assert can_stop_waiting(observed, NOW, None) is stop


@pytest.mark.parametrize(
    ("observed", "error", "text"),
    [
        pytest.param(ObservedCompanion(), NotReady, "login hello-token -n physics", id="none"),
        pytest.param(replace(READY, companion=NO_TOKEN), NotReady, "not yet", id="no token"),
        pytest.param(replace(READY, companion=OVER), TokenUnavailable, "log in again", id="status"),
        pytest.param(REFUSED, StoreRefused, "cannot be read: forbidden", id="no access"),
        pytest.param(UNREACHABLE, StoreUnavailable, "cannot be read: no route", id="backend"),
        pytest.param(
            replace(READY, companion=replace(COMPANION, token=replace(TOKEN, expires_at=NOW))),
            TokenUnavailable,
            "expired at 2027-01-15T08:00:00Z",
            id="expired",
        ),
        pytest.param(READY, TokenUnavailable, "next refresh: 2027-01-15T08:30:00Z", id="short"),
        (ObservedCompanion(error=InvalidSecret(str(REF), ["is bad"])), InvalidSecret, "is bad"),
        (replace(READY, error=StoreUnavailable("no route")), StoreUnavailable, "no route"),
    ],
)
def test_the_error_names_the_secret_and_the_cause(
    observed: ObservedCompanion, error: type[DriverError], text: str
) -> None:
    found = unavailable_error(REF, observed, NOW, wanted=7200.0)
    assert type(found) is error
    assert text in str(found)
    assert str(REF) in str(found)
    assert "planted-at" not in str(found)


@pytest.mark.parametrize(
    ("observed", "text"),
    [
        pytest.param(ObservedCompanion(), "is it annotated", id="no companion"),
        pytest.param(READY, "Ready: ready; next refresh: 2027-01-15T08:30:00Z", id="planned"),
        pytest.param(replace(READY, companion=OVER), "no refresh is planned", id="over"),
        pytest.param(replace(UNREACHABLE, companion=OVER), "planned; no route", id="backend"),
    ],
)
def test_a_published_volume_is_not_ready_and_says_why(
    observed: ObservedCompanion, text: str
) -> None:
    for found in (expired_error(REF, observed, NOW), missing_error(REF, observed, NOW)):
        assert isinstance(found, NotReady)
        assert str(REF) in str(found)
        assert text in str(found)


@pytest.mark.parametrize(
    ("age", "live", "text"),
    [
        pytest.param(5.0, True, "", id="on its way"),
        pytest.param(-5.0, False, "", id="nearly right"),
        (3600.4, True, "the clock of this node is 3600 s ahead of the refresher's"),
        (-600.0, True, "the clock of this node is 600 s behind the refresher's"),
        (1200.0, False, "refresher stands still, or the clock of this node is ahead"),
    ],
)
def test_an_error_about_time_says_by_how_much_the_clocks_differ(
    age: float, text: str, *, live: bool
) -> None:
    observed = replace(READY, age=age, live=live)
    now = TOKEN.expires_at + 1
    for error in (
        unavailable_error(REF, observed, now),
        unavailable_error(REF, observed, NOW, 7200),
        expired_error(REF, observed, now),
        missing_error(REF, observed, now),
    ):
        assert str(error).endswith(text) if text else "clock" not in str(error)
