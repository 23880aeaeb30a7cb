from hypothesis import given
from hypothesis import strategies as st

from csidriver.core.backoff import backoff, stable_jitter


def test_the_jitter_is_fixed_and_differs_by_generation() -> None:
    assert stable_jitter("uid", 1) == stable_jitter("uid", 1)
    assert stable_jitter("uid", 1) != stable_jitter("uid", 2)
    assert 0 <= stable_jitter("", 0) < 1


@given(st.integers(1, 10_000), st.floats(0.0, 1.0, exclude_max=True), st.floats(1, 300))
def test_backoff_is_bounded(failures: int, u: float, cap: float) -> None:
    assert 0.5 <= backoff(failures, u, cap) <= cap
    assert backoff(failures, u, cap) <= max(0.5, 2.0 * 2.0 ** min(failures - 1, 20))
