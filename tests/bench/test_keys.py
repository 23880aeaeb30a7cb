"""Every number has one key, which is documented, and quick runs have the same ones."""

from importlib import import_module

import pytest

from bench import connections, fanout, publish, refresher
from bench.__main__ import PARTS
from bench.catalogue import BY_KEY, ENTRIES, FANOUT_SIZES
from bench.documents import PAGE, README, between, keys
from bench.refresher import Batch
from bench.rows import Row
from bench.scale_issuer import PresentedToken
from bench.servers import Reading

# What the project promises to measure.
PROMISED = """
publish_p50_ratio_floor publish_p50_ms publish_p99_ms publish_16_p99_ms publish_ratio_go
republish_ratio_go unpublish_ratio_go fanout_1_p99_ms fanout_10_p99_ms fanout_110_p99_ms
fanout_ratio_floor bad_reads_ours bad_reads_truncate bad_reads_pwrite reads_total
reader_open_p999_us reader_open_idle_p999_us lease_hold_p99_us lease_hold_busy_p99_us
node_rss_0_mib node_rss_20_mib node_rss_110_mib node_rss_250_mib node_pod_ratio_go
node_idle_cpu_percent refresh_per_second refresh_cpu_ms api_writes_per_refresh
api_reads_per_refresh as_calls_per_refresh refresh_ratio_floor scale_10k_rss_mib
scale_10k_start_s scale_10k_cpu_percent scale_10k_lateness_p99_s start_to_registered_ms
start_ratio_floor webhook_p50_ms webhook_p99_ms broker_fanout_p99_s broker_refused_fanout_p99_s
broker_all_nodes_s broker_connections broker_idle_cpu_percent broker_rss_mib
request_kept_ratio_fresh whole_refresh_kept_ratio_fresh
""".split()  # noqa: SIM905 - a list of forty lines reads worse


def of_part(name: str) -> list[str]:
    return sorted(entry.key for entry in ENTRIES if entry.part == name)


def test_keys_are_unique() -> None:
    assert len(BY_KEY) == len(ENTRIES)


@pytest.mark.parametrize("key", PROMISED)
def test_what_is_promised_is_in_the_catalogue(key: str) -> None:
    assert key in BY_KEY


def test_the_readme_explains_exactly_the_catalogue() -> None:
    _, block, _ = between(README.read_text("utf-8"), "keys")
    assert block == keys()


def test_a_number_without_an_explanation_is_refused() -> None:
    with pytest.raises(ValueError, match="no fanout_7_ms"):
        Row("fanout_7_ms", 1.0)


@pytest.mark.parametrize("part", PARTS)
def test_every_part_is_a_module_with_quick_and_full_runs(part: str) -> None:
    measure = import_module(f"bench.{part}").measure
    assert measure.__kwdefaults__ is None
    assert "quick" in measure.__annotations__


def test_the_publish_part_has_all_its_keys_with_a_peer_and_skips_only_its_without() -> None:
    names = "publish,floor,empty,wire,wire empty,new connection,new connection empty,"
    names += "unpublish,unpublish floor,republish"
    taken = {name: [1.0] for name in names.split(",")}
    go = {f"go {name}": [5.0] for name in ("publish", "republish", "unpublish")}
    crowds = [publish.ParallelPublishes([3.0], [2.0], 4.0)]
    compared = [row.key for row in publish._rows([taken | go], crowds, compared=True)]
    assert sorted([*compared, "publish_first_ms"]) == of_part("publish")
    alone = {row.key for row in publish._rows([taken], crowds, compared=False)}
    assert {key for key in compared if key not in alone} == {
        entry.key for entry in ENTRIES if entry.go and entry.part == "publish"
    }


def test_the_fan_out_part_has_all_its_keys() -> None:
    taken = {
        (size, ours): [2.0 if ours else 1.0] for size in FANOUT_SIZES for ours in (True, False)
    }
    rows = {row.key: row.value for row in fanout._rows([taken, taken])}
    assert sorted(rows) == of_part("fanout")
    assert rows["fanout_ratio_floor"] == 2.0


def test_the_refresher_part_has_all_its_keys_and_counts_per_refresh() -> None:
    shown = [PresentedToken(at, f"hash-{at}", "rotated") for at in (10.0, 10.5, 11.0)]
    requests = {("PATCH", "secrets", "200"): 12.0, ("GET", "secrets", "200"): 3.0}
    before = Reading(at=9.0, requests={}, shown=[], cpu=1.0, rss=0.0)
    after = Reading(at=12.0, requests=requests, shown=shown, cpu=1.03, rss=0.0)
    rows = {row.key: row.value for row in refresher._rows([Batch(before, after, bare=6.0)])}
    assert sorted(rows) == of_part("refresher")
    assert rows["refresh_per_second"] == 2.0
    assert rows["refresh_cpu_ms"] == pytest.approx(10.0)
    assert rows["api_writes_per_refresh"] == 4.0
    assert rows["api_reads_per_refresh"] == 1.0
    assert rows["as_calls_per_refresh"] == 1.0
    assert rows["refresh_ratio_floor"] == 3.0


def test_the_part_of_connections_has_all_its_keys_and_a_ratio_of_rounds() -> None:
    taken = {"kept": [[1.0], [3.0], [2.0]], "fresh": [[4.0], [4.0], [4.0]]}
    parts = [connections._rows(what, taken) for what in ("request", "whole_refresh")]
    rows = {row.key: row.value for part in parts for row in part}
    assert sorted(rows) == of_part("connections")
    assert rows["request_kept_ratio_fresh"] == 0.5


def test_the_page_has_a_place_for_the_last_run() -> None:
    before, block, after = between(PAGE.read_text("utf-8"), "table")
    assert before
    assert after
    assert block.count("`publish_p50_ms`") == 1
