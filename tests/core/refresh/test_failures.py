import re
from pathlib import Path

import pytest

from csidriver.core.oauth.failure_reason import Consumption, FailureReason
from csidriver.core.refresh.failures import FAILURE_RULES, RetryPolicy


def test_every_failure_reason_has_a_rule() -> None:
    assert set(FAILURE_RULES) == set(FailureReason)


PROTOCOL = Path(__file__).parents[3] / "docs" / "protocol.md"


PROVES = {
    "not sent": Consumption.NOT_SENT,
    "not consumed": Consumption.NOT_CONSUMED,
    "unknown": Consumption.UNKNOWN,
}


NEXT = {
    RetryPolicy.BACKOFF: ("backoff", "section 4"),
    RetryPolicy.RETRY_AFTER: ("Retry-After, at most 1 h",),
    RetryPolicy.FIVE_MINUTES: ("5 min",),
    RetryPolicy.THREE_QUICK: ("3 quick, then 30 min",),
    RetryPolicy.HOURLY: ("1 h", "once at once without the configured scope, else 1 h"),
    RetryPolicy.ONE_QUICK: ("once at once, then 1 h",),
    RetryPolicy.FIVE_QUICK: ("5 quick, then 1 h",),
    RetryPolicy.ONCE_LATER: ("once after 5 min",),
    RetryPolicy.NEVER: ("a new token only",),
}


def rows() -> list[tuple[str, str, str, str]]:
    """Signal, what it proves, status and next attempt, as the document has them."""
    text = PROTOCOL.read_text(encoding="utf-8")
    table = text[text.index("| reason (metric label") :].split("\n\n")[0]
    lines = [re.split(r"\s*\|\s*", line.strip("| ")) for line in table.splitlines()[2:]]
    return [(line[0].strip("`"), line[2], line[3], line[4]) for line in lines]


def test_every_signal_has_its_row() -> None:
    assert sorted(row[0] for row in rows()) == sorted(signal.value for signal in FailureReason)


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_the_table_says_what_the_code_does(row: tuple[str, str, str, str]) -> None:
    signal, proves, status, following = row
    meaning = FAILURE_RULES[FailureReason(signal)]
    assert FailureReason(signal).consumption is PROVES[proves]
    assert meaning.status.value == status
    assert following in NEXT[meaning.retry_policy]
