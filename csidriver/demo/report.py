"""The numbers of the demo, and the check of its promises."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Report:
    """The demo's result, and the keys of its JSON line. Times in milliseconds."""

    refreshes: int
    rewrites: int
    leased_rewrites: int
    reads: int
    torn_reads: int
    expired_reads: int
    inode_changes: int
    max_presentations_per_refresh_token: int
    publish_ms: float
    propagation_ms_p99: float

    @property
    def promises_kept(self) -> bool:
        """Return True if the demo saw refreshes and reads, and nothing bad."""
        broken = self.torn_reads + self.expired_reads + self.inode_changes
        return (
            broken == 0
            and self.reads > 0
            and self.refreshes >= 1
            and self.max_presentations_per_refresh_token <= 1
        )


def propagation_seconds(
    reports: Iterable[Mapping[str, Any]], written: Mapping[str, float]
) -> list[float]:
    """Return the seconds from each write of a companion to each first read of its token.

    A reader's first token does not count: it may be older than the reader.
    """
    return [
        read_at - written[token]
        for report in reports
        for token, read_at in report.get("first_reads", [])[1:]
        if token in written
    ]


def percentile(values: list[float], share: float) -> float:
    """Return a percentile by nearest rank, 0 without values."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0
