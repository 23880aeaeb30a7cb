import pytest

from csidriver.kubectl.errors import KubectlFailed
from csidriver.kubectl.tokens import records


def test_a_line_is_read_as_go_quotes_it() -> None:
    line = r'["plain","a \"quote\"","tab\t","\u7968","\U0001f600","\x1b","\a",[["x","y"],]]'
    (fields,) = records.parse_records([line], 8)
    expected = ["plain", 'a "quote"', "tab\t", "票", "😀", "\x1b", "\a", [["x", "y"]]]
    assert fields == expected


@pytest.mark.parametrize("line", ["error", '"text"', "[1,", "[]", "[1,2,3]", "__import__('os')"])
def test_a_line_that_is_no_record_is_a_failure(line: str) -> None:
    with pytest.raises(KubectlFailed, match="not a record"):
        list(records.parse_records([line], 2))
