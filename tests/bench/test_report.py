import json
from pathlib import Path

import pytest

from bench import report
from bench.report import Row

SLOW = Row("publish_p50_ms", [2.0, 30.0, 4.0], "<= 14 x", [1.0, 10.0, 2.0], "publish_ratio")
ROWS = [
    SLOW,
    Row("bad_reads_ours", [1], "<= 0"),
    Row("reads_total", [20_000_000], ">= 1e7"),
    Row("refresh_cpu_ms", [1.0, 2.0], "", [0.5, 0.5]),
    Row("publish_ratio_go", (), ">= 5", skipped="skipped: no hostpathplugin"),
]


def test_a_number_is_a_median_and_a_target_is_of_it_or_of_its_ratio_to_the_floor() -> None:
    keys = ("publish_p50_ms", "publish_p50_ms_floor", "publish_ratio")
    assert SLOW.numbers() == dict(zip(keys, (4.0, 2.0, 2.0), strict=True))
    verdicts = ["kept", "MISSED", "kept", "", "skipped: no hostpathplugin"]
    assert [row.verdict for row in ROWS] == verdicts


def test_the_table_of_the_docs_is_that_of_the_last_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "RESULTS", tmp_path / "results.json")
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    report.save("a machine", ROWS)
    numbers = json.loads(report.RESULTS.read_text())["numbers"]
    assert (numbers["publish_ratio"], numbers["reads_total"]) == (2.0, 2e7)
    report.write_page(page)
    before, _, table = page.read_text().partition("a machine\n\n")
    assert before == f"before\n{report.BEGIN}\n"
    assert table == f"{report.table(ROWS)}\n{report.END}\nafter\n"
    assert f"{report.BEGIN}\n" in report.PAGE.read_text("utf-8")
