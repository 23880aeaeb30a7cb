"""Tables."""

from csidriver.kubectl.output.table import Table


def test_columns_are_three_spaces_apart_and_at_least_six_wide() -> None:
    rows = [("A", "LONGER NAME", "LAST"), ("1", "x", "a message")]
    assert list(Table().lines(rows)) == [
        "A     LONGER NAME   LAST",
        "1     x             a message",
    ]


def test_nothing_follows_the_last_cell() -> None:
    assert list(Table().lines([("NAME", "LAST"), ("a", "")])) == ["NAME   LAST", "a      "]


def test_later_rows_come_below_earlier_ones() -> None:
    table = Table()
    assert list(table.lines([("a-long-name", "x")])) == ["a-long-name   x"]
    assert list(table.lines([("b", "y")])) == ["b             y"]


def test_a_cell_is_one_line() -> None:
    assert list(Table().lines([("one\ntwo", "x\ry")])) == ["one...   x..."]
