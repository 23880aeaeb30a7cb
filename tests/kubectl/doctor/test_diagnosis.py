"""Findings as text and as an object."""

from csidriver.kubectl.doctor.check_runner import Check
from csidriver.kubectl.doctor.diagnosis import summary, to_lines
from csidriver.kubectl.doctor.finding import ok, problem, warning


def of(section: str) -> Check:
    return Check(section, "name", "the thing", list)


ANSWERS = [
    (of("A"), [ok("first", "it is"), problem("second", "it is not", "run: it")]),
    (of("A"), [warning("third", "it may")]),
    (of("B"), []),
    (of("C"), [warning("x", "two\nlines")]),
]


def test_lines_have_a_title_for_each_section_that_is_not_empty() -> None:
    assert list(to_lines(ANSWERS)) == [
        "A:",
        "  ok       first   it is",
        "  problem  second  it is not",
        "                   run: it",
        "  warning  third   it may",
        "C:",
        "  warning  x       two...",
    ]


def test_problems_are_counted() -> None:
    assert summary(ANSWERS) == (1, "1 problem, 2 warnings")
    assert summary([]) == (0, "0 problems, 0 warnings")
