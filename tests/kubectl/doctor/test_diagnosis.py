from csidriver.kubectl.doctor.check_runner import Check
from csidriver.kubectl.doctor.diagnosis import summary, to_lines
from csidriver.kubectl.doctor.finding import problem, warning


def test_problems_are_counted_and_a_section_without_findings_has_no_title() -> None:
    first, second = (Check(section, "name", "the thing", list) for section in "AB")
    findings = [problem("a", "it is not", "run: it"), warning("b", "two\nlines"), warning("c", "")]
    answers = [(first, findings), (second, [])]
    assert summary(answers) == (1, "1 problem, 2 warnings")
    assert list(to_lines(answers))[0::3] == ["A:", "  warning  b  two..."]
