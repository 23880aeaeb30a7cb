from dataclasses import replace

import pytest

from csidriver.core import annotations
from csidriver.core.refresh.source_annotations import (
    StatusOverride,
    parse_warnings,
    status_annotations,
)
from csidriver.core.status import Status, TokenWarning
from tests.core.refresh.grants import ADOPTED, AFTER


def test_an_override_hides_the_status_of_the_grant_and_not_its_times() -> None:
    override = StatusOverride(Status.INVALID, "broken")
    shown = status_annotations(AFTER, override, mirror_refused=False)
    assert (shown[annotations.STATUS], shown[annotations.MESSAGE]) == ("Invalid", "broken")
    assert shown[annotations.EXPIRES_AT]


def test_a_refused_mirror_is_the_reason_for_an_old_seed() -> None:
    grant = replace(ADOPTED, warning=TokenWarning.OLD_SEED_RESTORED.value, expiry_warnings=1)
    shown = status_annotations(grant, None, mirror_refused=True)
    assert shown[annotations.WARNING] == "MirrorRefused, RefreshTokenExpiring"
    assert set(parse_warnings(shown)) == {
        TokenWarning.MIRROR_REFUSED,
        TokenWarning.REFRESH_TOKEN_EXPIRING,
    }


@pytest.mark.parametrize(
    ("expires_at", "renewed", "end"),
    [(0.0, False, None), (1_800_000_000.0, True, None), (1_800_000_000.0, False, "2027-01-15")],
)
def test_a_login_has_an_end_unless_renewed(
    expires_at: float, end: str | None, *, renewed: bool
) -> None:
    grant = replace(AFTER, refresh_expires_at=expires_at, refresh_renewed=renewed)
    text = status_annotations(grant, None, mirror_refused=False)[annotations.LOGIN_EXPIRES_AT]
    assert (text and text[:10]) == end
