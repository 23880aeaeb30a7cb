"""Every part measures what it should, at a tiny size; targets are for `make bench`."""

import pytest

from bench.__main__ import PARTS, rows_of
from tests.cluster.controlplane import PROGRAMS

KEYS = {
    "publish": "publish_p50_ms publish_p50_ratio_floor publish_p99_ms publish_first_ms"
    " publish_ratio_go republish_ratio_go unpublish_ratio_go",
    "fanout": "fanout_1_p99_ms fanout_10_p99_ms fanout_110_p99_ms fanout_ratio_floor",
    "reads": "reads_total bad_reads_ours bad_reads_truncate lease_hold_p99_us"
    " lease_hold_busy_p99_us",
    "footprint": "node_rss_0_mib node_rss_110_mib node_pod_ratio_go node_rss_kib_per_volume"
    " node_rss_kib_per_companion node_idle_cpu_percent start_to_registered_ms start_ratio_floor"
    " stop_s",
    "refresher": "refresh_per_second refresh_cpu_ms refresh_ratio_floor api_writes_per_refresh"
    " api_reads_per_refresh as_calls_per_refresh request_kept_ratio_fresh"
    " whole_refresh_kept_ratio_fresh",
    "scale": "scale_10k_start_s scale_10k_rss_mib scale_10k_cpu_percent scale_10k_lateness_p99_s"
    " scale_10k_api_writes_per_refresh scale_10k_api_reads_per_refresh reseed_adopted_s",
    "webhook": "webhook_p50_ms webhook_p99_ms webhook_ratio_floor webhook_rss_mib",
    "broker": "broker_fanout_p99_s broker_refused_fanout_p99_s broker_all_nodes_s"
    " broker_connections broker_idle_cpu_percent broker_rss_mib",
}
# What a broken instrument or a broken driver would show at any size.
EXACT = {"bad_reads_ours": 0, "broker_connections": 50}
TOOLS = pytest.mark.tools(*PROGRAMS)


@pytest.mark.mounts
@pytest.mark.parametrize(
    "part",
    [pytest.param(part, marks=() if part in {"webhook", "broker"} else TOOLS) for part in PARTS],
)
def test_a_part_measures_its_numbers(part: str) -> None:
    rows = list(rows_of(part, quick=True))
    numbers = {key: value for row in rows for key, value in row.numbers().items()}
    skipped = {row.key for row in rows if row.skipped}
    assert {*KEYS[part].split()} <= numbers.keys() | skipped
    assert all(value >= 0 for value in numbers.values())
    exact = {key: value for key, value in EXACT.items() if key in numbers}
    assert {key: numbers[key] for key in exact} == exact
