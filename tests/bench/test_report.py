"""A run ends with one table and one flat object, whatever failed on the way."""

from dataclasses import replace

from bench import part, report
from bench.catalogue import ENTRIES
from bench.machine import Machine
from bench.report import Report
from bench.rows import Row, middle, over_rounds, ratio

MACHINE = Machine(2, "a processor", "6.18", "3.11", 24.0, 0.5, 1.5)
WHOLE = Report(
    rows=(
        Row("publish_p50_ms", 1.25, (1.0, 2.0)),
        Row("publish_p50_ratio_floor", 14.5),
        Row("bad_reads_ours", 0),
        Row("reads_total", 500_000),
    ),
    machine=MACHINE,
    quick=True,
    at=0.0,
    took=12.0,
    failed={"webhook": "ended with status 1"},
    skipped={"publish_ratio_go": "skipped: hostpathplugin not found"},
)


def test_a_ratio_is_taken_round_by_round() -> None:
    slow_machine_in_the_second_round = ratio("start_ratio_floor", [[2.0], [20.0]], [[1.0], [10.0]])
    assert slow_machine_in_the_second_round == Row("start_ratio_floor", 2.0, (2.0, 2.0))


def test_a_number_is_the_median_over_rounds_of_a_percentile() -> None:
    rounds = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [70.0, 80.0, 90.0]]
    assert over_rounds("publish_p50_ms", rounds) == Row("publish_p50_ms", 5.0, (2.0, 80.0))
    assert over_rounds("publish_p99_ms", rounds, 0.99).value == 6.0
    assert middle("stop_s", [3.0]) == Row("stop_s", 3.0)


def test_results_hold_one_number_per_key_and_say_what_was_quick() -> None:
    numbers = WHOLE.numbers()
    assert numbers["publish_p50_ms"] == 1.25
    assert numbers["quick"] == 1
    assert numbers["machine_cores"] == 2
    assert replace(WHOLE, quick=False).numbers()["quick"] == 0
    assert all(isinstance(value, int | float) for value in numbers.values())
    assert report.flat(numbers).startswith("{\n")


def test_targets_are_judged_and_counts_only_in_full_runs() -> None:
    assert WHOLE.missed() == ["publish_p50_ratio_floor"]
    assert replace(WHOLE, quick=False).missed() == ["publish_p50_ratio_floor", "reads_total"]
    torn = replace(WHOLE, rows=(Row("bad_reads_ours", 1),))
    assert torn.missed() == ["bad_reads_ours"]
    slow_peer = replace(WHOLE, rows=(Row("publish_ratio_go", 5.1), Row("republish_ratio_go", 3.9)))
    assert slow_peer.missed() == ["republish_ratio_go"]


def test_keys_that_a_part_owes_are_named() -> None:
    missing = WHOLE.missing(["publish"])
    assert "publish_p99_ms" in missing
    assert "publish_p50_ms" not in missing
    assert "webhook_p50_ms" not in missing


def test_the_table_is_in_the_catalogues_order_with_skips_and_verdicts() -> None:
    lines = WHOLE.table().splitlines()
    assert len({len(line) for line in lines}) == 1
    keys = [line.split("`")[1] for line in lines[2:]]
    order = [entry.key for entry in ENTRIES]
    assert keys == sorted(keys, key=order.index)
    by_key = dict(zip(keys, lines[2:], strict=True))
    assert "MISSED" in by_key["publish_p50_ratio_floor"]
    assert "kept" in by_key["bad_reads_ours"]
    assert "full run only" in by_key["reads_total"]
    assert "500,000" in by_key["reads_total"]
    assert "1 .. 2" in by_key["publish_p50_ms"]
    assert "skipped" in by_key["publish_ratio_go"]
    assert "2 cores (a processor)" in WHOLE.heading()
    assert "QUICK" in WHOLE.heading()


def test_a_report_survives_its_file() -> None:
    assert Report.parse(WHOLE.dump()) == WHOLE


def test_a_run_of_one_part_keeps_the_numbers_of_the_others() -> None:
    again = replace(WHOLE, rows=(Row("publish_p50_ms", 9.0),))
    joined = again.joined(WHOLE).numbers()
    assert joined["publish_p50_ms"] == 9.0
    assert joined["reads_total"] == 500_000
    other_kind = again.joined(replace(WHOLE, quick=False)).numbers()
    assert "reads_total" not in other_kind


def test_a_part_that_takes_too_long_is_ended_and_named() -> None:
    outcome = part.run("webhook", quick=True, limit=0.0)
    assert outcome.rows == []
    assert "more than 0 s" in outcome.failure
