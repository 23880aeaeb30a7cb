"""Four parts measure what they should, at a tiny size; the others take longer."""

import pytest

from bench.__main__ import rows_of
from tests.cluster.controlplane import PROGRAMS

KEYS = {
    "publish": "publish_p50_ms publish_p50_ratio_floor publish_p99_ms publish_first_ms"
    " publish_ratio_go republish_ratio_go unpublish_ratio_go",
    "refresher": "refresh_per_second refresh_cpu_ms refresh_ratio_floor api_writes_per_refresh"
    " api_reads_per_refresh as_calls_per_refresh request_kept_ratio_fresh"
    " whole_refresh_kept_ratio_fresh",
    "webhook": "webhook_p50_ms webhook_p99_ms webhook_ratio_floor webhook_rss_mib",
    "broker": "broker_fanout_p99_s broker_refused_fanout_p99_s broker_all_nodes_s"
    " broker_connections broker_idle_cpu_percent broker_rss_mib",
}
TOOLS = pytest.mark.tools(*PROGRAMS)


@pytest.mark.mounts
@pytest.mark.parametrize(
    "part",
    [pytest.param(part, marks=() if part in {"webhook", "broker"} else TOOLS) for part in KEYS],
)
def test_a_part_measures_its_numbers(part: str) -> None:
    rows = list(rows_of(part, quick=True))
    numbers = {key: value for row in rows for key, value in row.numbers().items()}
    skipped = {row.key for row in rows if row.skipped}
    assert {*KEYS[part].split()} <= numbers.keys() | skipped
    assert all(value >= 0 for value in numbers.values())
    assert numbers.get("broker_connections", 50) == 50
