"""Findings and how bad they are."""

from csidriver.kubectl.doctor.finding import Finding, Level, ok, problem, warning


def test_levels_are_in_the_order_of_badness() -> None:
    assert [level.value for level in Level] == ["ok", "warning", "problem"]


def test_a_finding_has_its_level() -> None:
    assert ok("a", "b") == Finding(Level.OK, "a", "b")
    assert warning("a", "b", "c") == Finding(Level.WARNING, "a", "b", "c")
    assert problem("a", "b", "c") == Finding(Level.PROBLEM, "a", "b", "c")
