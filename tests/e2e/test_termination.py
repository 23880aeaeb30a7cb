"""Pods with 600 s of grace, which were asked to end before the other tests began."""

from tests.e2e.many_files import FilesReader
from tests.e2e.readers import is_clean


def test_a_pod_that_ends_for_ten_minutes_reads_valid_tokens(ending: list[FilesReader]) -> None:
    # Meanwhile parts of the driver and of the cluster failed, see test_disruption.py.
    for totals in [reader.end(seconds=600) for reader in ending]:
        assert is_clean(totals), totals
        assert totals["changes_since_sigterm"] >= 2, totals
