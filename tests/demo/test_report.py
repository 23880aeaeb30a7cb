from dataclasses import replace

from csidriver.demo.report import Report, percentile, propagation_seconds

KEPT = Report(1, 2, 3, 10_000, 0, 0, 0, 1, 1.5, 40.0)


def test_a_run_that_broke_one_promise_fails() -> None:
    assert KEPT.promises_kept
    bad = ("torn_reads", "expired_reads", "inode_changes", "max_presentations_per_refresh_token")
    for broken in (*({name: 2} for name in bad), {"refreshes": 0}, {"reads": 0}):
        assert not replace(KEPT, **broken).promises_kept, broken


def test_propagation_counts_every_token_but_the_one_a_reader_started_with() -> None:
    report = {"first_reads": [["first", 5.0], ["second", 10.5], ["unknown", 11.0]]}
    assert propagation_seconds([report, {}], {"first": 1.0, "second": 10.0}) == [0.5]


def test_percentile_is_the_nearest_rank() -> None:
    assert (percentile([], 0.99), percentile([1.0, 9.0], 0.99)) == (0.0, 9.0)
    assert percentile([1.0, 2.0, 3.0, 4.0], 0.5) == 2.0
