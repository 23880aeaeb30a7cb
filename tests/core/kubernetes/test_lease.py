from dataclasses import replace

import pytest

from csidriver.core.kubernetes.lease import LeaseRecord, ObservedLease, acquired, observe

THEIRS = LeaseRecord("them", 15.0, acquired_at=100.0, renewed_at=200.0, transitions=3, version="7")


@pytest.mark.parametrize(
    ("record", "now", "free"),
    [
        pytest.param(None, 50.0, True, id="none"),
        pytest.param(THEIRS, 64.9, False, id="theirs, unchanged for almost as long as it lasts"),
        pytest.param(THEIRS, 65.0, True, id="theirs, unchanged for as long as it lasts"),
        pytest.param(replace(THEIRS, duration=30.0), 65.0, False, id="they promised longer"),
        pytest.param(replace(THEIRS, holder=""), 50.0, True, id="given up"),
        pytest.param(replace(THEIRS, holder="us"), 50.0, True, id="ours, of before a restart"),
    ],
)
def test_a_lease_is_free_when_it_has_not_changed_for_as_long_as_it_lasts(
    record: LeaseRecord | None, now: float, *, free: bool
) -> None:
    assert ObservedLease(record, 50.0).is_expired_for("us", now) is free


def test_an_unchanged_lease_keeps_its_age_and_a_changed_one_starts_again() -> None:
    first = observe(None, THEIRS, 10.0)
    assert first == ObservedLease(THEIRS, 10.0)
    assert observe(first, replace(THEIRS, renewed_at=999.0), 20.0) is first
    renewed = replace(THEIRS, version="8")
    assert observe(first, renewed, 20.0) == ObservedLease(renewed, 20.0)
    assert observe(first, None, 20.0) == ObservedLease(None, 20.0)
    assert observe(ObservedLease(None, 10.0), None, 20.0) == ObservedLease(None, 10.0)


def test_an_acquired_lease_counts_transitions_and_keeps_the_version() -> None:
    assert acquired(None, "us", 15.0, 300.0) == LeaseRecord("us", 15.0, 300.0, 300.0)
    assert acquired(THEIRS, "us", 20.0, 300.0) == LeaseRecord("us", 20.0, 300.0, 300.0, 4, "7")
    assert acquired(THEIRS, "them", 20.0, 300.0) == LeaseRecord("them", 20.0, 100.0, 300.0, 3, "7")
