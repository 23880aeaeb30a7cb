"""Findings as text and as JSON."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from csidriver.core.names import DRIVER_NAME
from csidriver.kubectl.doctor.check_runner import Answers
from csidriver.kubectl.doctor.finding import Finding, Level
from csidriver.kubectl.output.table import Table


def to_lines(answers: Answers) -> Iterator[str]:
    """Yield findings by section, each with its cure in the next line."""
    rows = [row for _, found in answers for finding in found for row in _rows(finding)]
    lines = Table(padding=2, narrowest=0).lines(rows)
    section = ""
    for check, found in answers:
        if check.section != section and found:
            section = check.section
            yield f"{section}:"
        for _ in (row for finding in found for row in _rows(finding)):
            yield f"  {next(lines)}"


def to_document(answers: Answers) -> dict[str, Any]:
    """Return an object for programs; a later version may add fields, and removes none."""
    findings = [
        {
            "section": check.section,
            "check": finding.check,
            "level": finding.level.value,
            "message": finding.message,
            "cure": finding.cure,
        }
        for check, found in answers
        for finding in found
    ]
    return {"apiVersion": f"{DRIVER_NAME}/v1", "kind": "Diagnosis", "findings": findings}


def summary(answers: Answers) -> tuple[int, str]:
    """Return the number of problems, and a line about it."""
    levels = Counter(finding.level for _, found in answers for finding in found)
    counts = [(levels[Level.PROBLEM], "problem"), (levels[Level.WARNING], "warning")]
    texts = [f"{count} {noun}{'' if count == 1 else 's'}" for count, noun in counts]
    return levels[Level.PROBLEM], ", ".join(texts)


def _rows(finding: Finding) -> Iterator[tuple[str, str, str]]:
    yield finding.level.value, finding.check, finding.message
    if finding.cure:
        yield "", "", finding.cure
