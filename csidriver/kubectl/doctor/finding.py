"""A finding of a check: one sentence, and what helps."""

from dataclasses import dataclass
from enum import Enum


class Level(Enum):
    """How bad a finding is, as users read it."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """A sentence; `cure` is a command after `run: `, or words where no command helps."""

    level: Level
    check: str
    message: str
    cure: str = ""


def ok(check: str, message: str) -> Finding:
    return Finding(Level.OK, check, message)


def warning(check: str, message: str, cure: str = "") -> Finding:
    return Finding(Level.WARNING, check, message, cure)


def problem(check: str, message: str, cure: str = "") -> Finding:
    return Finding(Level.PROBLEM, check, message, cure)
