import re
from pathlib import Path

import pytest

from csidriver.core.oauth.failure_reason import Consumption, FailureReason
from csidriver.core.refresh.outcomes import OF_GATEWAYS
from csidriver.core.refresh.transitions import FAILURE_RULES, TRANSITIONS, Outcome, Sent

PROTOCOL = Path(__file__).parents[3] / "docs" / "protocol.md"
CONSUMPTION = {
    "not sent": Consumption.NOT_SENT,
    "not consumed": Consumption.NOT_CONSUMED,
    "unknown": Consumption.UNKNOWN,
}


def table(first_cell: str) -> list[list[str]]:
    """Return the cells of the table in section 6 with this head."""
    text = PROTOCOL.read_text(encoding="utf-8")
    lines = text[text.index(f"| {first_cell}") :].split("\n\n")[0].splitlines()[2:]
    return [re.split(r"\s*\|\s*", line.strip("| ")) for line in lines]


def test_the_document_has_every_row_of_the_life_of_a_grant() -> None:
    documented = {
        (sent, outcome): (intent, status, following)
        for sents, outcome, intent, status, following in table("intent before")
        for sent in sents.split(", ")
    }
    in_code = {
        (sent.value, outcome.value): (
            row.intent.value,
            row.status.value if row.status else "of the reason",
            row.next.value if row.next else "of the reason",
        )
        for (sent, outcome), row in TRANSITIONS.items()
    }
    assert documented == in_code


def test_every_outcome_has_a_row_for_every_intent_that_it_may_meet() -> None:
    impossible = {
        # Without an intent a server that never rotates has one way to be silent.
        *((Sent.NONE, outcome) for outcome in (Outcome.REUSABLE, Outcome.ASKABLE)),
        # What may be repeated is sent without an intent.
        *((sent, Outcome.CLIENT_REFUSED) for sent in Sent if sent is not Sent.NONE),
        *((sent, Outcome.SUBJECT_REFUSED) for sent in Sent if sent is not Sent.NONE),
    }
    wanted = {(sent, outcome) for sent in Sent for outcome in Outcome}
    assert wanted - set(TRANSITIONS) == impossible


@pytest.mark.parametrize("row", table("reason (metric label"), ids=lambda row: row[0].strip("`"))
def test_the_document_says_what_a_reason_means(row: list[str]) -> None:
    reason = FailureReason(row[0].strip("`"))
    rule = FAILURE_RULES[reason]
    then_slow = ", slow after 10 min" if reason in OF_GATEWAYS else ""
    assert CONSUMPTION[row[2]] is reason.consumption
    assert row[3] == rule.status.value
    assert row[4] == rule.retry_policy.value + then_slow


def test_every_reason_has_a_row_in_the_document() -> None:
    rows = [row[0].strip("`") for row in table("reason (metric label")]
    assert sorted(rows) == sorted(reason.value for reason in FailureReason)
