from csidriver.kubectl.output.table import Table


def test_columns_are_three_spaces_apart_and_at_least_six_wide_also_in_later_rows() -> None:
    table = Table()
    rows = [("A", "LONGER NAME", "LAST"), ("1", "x\ny", "")]
    assert list(table.lines(rows)) == ["A     LONGER NAME   LAST", "1     x...          "]
    assert list(table.lines([("b", "y", "z")])) == ["b     y             z"]
