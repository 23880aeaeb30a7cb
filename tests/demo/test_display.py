from dataclasses import replace

import pytest

from csidriver.demo.display import BAD_READS, Display
from csidriver.demo.report import Report

REPORT = Report(3, 2, 1, 1_000, 0, 0, 0, 1, 1.5, 40.0)


def test_the_table_is_printed_as_lines_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    display = Display(live=False)
    with display.table():
        for generation in ("1", "2"):
            display.update([{"pod": "hello", "generation": generation, BAD_READS: "0"}], REPORT)
    assert capsys.readouterr().out == "  pod: hello  generation: 1  bad reads: 0\n"


def test_the_report_ends_with_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    for report, end in (
        (REPORT, "* every promise was kept"),
        (replace(REPORT, torn_reads=1), "* A PROMISE WAS BROKEN"),
    ):
        Display(live=False).print_report(report)
        numbers, result = capsys.readouterr().out.splitlines()
        assert numbers.startswith("* 3 refreshes, 2 rewrites in place (1 under a lease), 1000 r")
        assert result == end
