from dataclasses import replace

import pytest

from csidriver.demo.report import Report, percentile, propagation_seconds

KEPT = Report(
    refreshes=1,
    rewrites=2,
    leased_rewrites=3,
    reads=10_000,
    torn_reads=0,
    expired_reads=0,
    inode_changes=0,
    max_presentations_per_refresh_token=1,
    publish_ms=1.5,
    propagation_ms_p99=40.0,
)


@pytest.mark.parametrize(
    "broken",
    [
        {"torn_reads": 1},
        {"expired_reads": 1},
        {"inode_changes": 1},
        {"max_presentations_per_refresh_token": 2},
        {"refreshes": 0},
        {"reads": 0},
    ],
    ids=lambda broken: next(iter(broken)),
)
def test_a_run_that_broke_one_promise_fails(broken: dict[str, int]) -> None:
    assert KEPT.promises_kept
    assert not replace(KEPT, **broken).promises_kept


def test_propagation_counts_every_token_but_the_one_a_reader_started_with() -> None:
    report = {"first_reads": [["first", 5.0], ["second", 10.5], ["unknown", 11.0]]}
    assert propagation_seconds([report, {}], {"first": 1.0, "second": 10.0}) == [0.5]


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([], 0.99, 0.0), ([3.0], 0.5, 3.0), ([1.0, 2.0, 3.0, 4.0], 0.5, 2.0), ([1.0, 9.0], 0.99, 9.0)],
)
def test_percentile_is_the_nearest_rank(values: list[float], share: float, expected: float) -> None:
    assert percentile(values, share) == expected
