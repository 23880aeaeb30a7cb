from dataclasses import replace

import pytest

from csidriver.core.kubernetes.lease import Sighting, Tenure, claimed, sighted

THEIRS = Tenure("them", 15.0, acquired_at=100.0, renewed_at=200.0, transitions=3, version="7")


@pytest.mark.parametrize(
    ("tenure", "now", "free"),
    [
        pytest.param(None, 50.0, True, id="none"),
        pytest.param(THEIRS, 50.0, False, id="theirs, just seen"),
        pytest.param(THEIRS, 64.9, False, id="theirs, unchanged for almost as long as it lasts"),
        pytest.param(THEIRS, 65.0, True, id="theirs, unchanged for as long as it lasts"),
        pytest.param(replace(THEIRS, duration=30.0), 65.0, False, id="they promised longer"),
        pytest.param(replace(THEIRS, holder=""), 50.0, True, id="given up"),
        pytest.param(replace(THEIRS, holder="us"), 50.0, True, id="ours, of before a restart"),
        pytest.param(replace(THEIRS, renewed_at=0.0), 50.0, False, id="their clock is behind"),
    ],
)
def test_a_lease_is_free_when_it_has_not_changed_for_as_long_as_it_lasts(
    tenure: Tenure | None, now: float, *, free: bool
) -> None:
    assert Sighting(tenure, 50.0).is_free("us", now) is free


def test_an_unchanged_lease_keeps_its_age_and_a_changed_one_starts_anew() -> None:
    first = sighted(None, THEIRS, 10.0)
    assert first == Sighting(THEIRS, 10.0)
    assert sighted(first, replace(THEIRS, renewed_at=999.0), 20.0) is first
    renewed = replace(THEIRS, version="8")
    assert sighted(first, renewed, 20.0) == Sighting(renewed, 20.0)
    assert sighted(first, None, 20.0) == Sighting(None, 20.0)
    assert sighted(Sighting(None, 10.0), None, 20.0) == Sighting(None, 10.0)


def test_a_claim_counts_transitions_and_keeps_the_version() -> None:
    assert claimed(None, "us", 15.0, 300.0) == Tenure("us", 15.0, 300.0, 300.0)
    assert claimed(THEIRS, "us", 20.0, 300.0) == Tenure("us", 20.0, 300.0, 300.0, 4, "7")
    assert claimed(THEIRS, "them", 20.0, 300.0) == Tenure("them", 20.0, 100.0, 300.0, 3, "7")
