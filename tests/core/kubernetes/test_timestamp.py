import pytest
from hypothesis import given
from hypothesis import strategies as st

from csidriver.core.kubernetes.timestamp import format_rfc3339, parse_rfc3339


def test_instants_are_rfc_3339_in_utc() -> None:
    assert format_rfc3339(1_795_459_860.9) == "2026-11-23T18:51:00Z"
    assert format_rfc3339(0.0) == "1970-01-01T00:00:00Z"


@given(st.integers(0, 10**11))
def test_round_trip(instant: int) -> None:
    assert parse_rfc3339(format_rfc3339(float(instant))) == instant


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("2026-11-23T19:51:00+01:00", 1_795_459_860.0), ("2026-11-23T18:51:00", None), ("soon", None)],
)
def test_epoch_wants_an_offset(text: str, wanted: float | None) -> None:
    assert parse_rfc3339(text) == wanted
