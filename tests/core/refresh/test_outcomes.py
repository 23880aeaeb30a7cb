"""Properties of what an exchange does to a grant, and the table of docs/protocol.md section 6."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csidriver.core import annotations
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.oauth.failure_reason import Consumption, FailureReason
from csidriver.core.oauth.issuers import MAX_LIFETIME, UNLIMITED, Issuer
from csidriver.core.oauth.token_document import TokenDocument
from csidriver.core.oauth.token_response import Failure
from csidriver.core.refresh.commit import Conflict, classify_conflict
from csidriver.core.refresh.failures import FAILURE_RULES, RetryPolicy
from csidriver.core.refresh.grant import Grant, adopt, with_intent
from csidriver.core.refresh.outcomes import (
    after_failure,
    after_success,
    reschedule_if_obsolete,
    without_refused_scope,
)
from csidriver.core.refresh.schedule import min_interval
from csidriver.core.refresh.source import Source
from csidriver.core.sensitive import Sensitive
from csidriver.core.status import Status
from csidriver.errors import InvalidSecret
from tests.core.oauth.test_token_document import objects
from tests.core.refresh.test_grant import GRANT, INTENT, NOW, document, source

PROTOCOL = Path(__file__).parents[3] / "docs" / "protocol.md"
ISSUERS = st.sampled_from(
    [
        Issuer("cern", "https://auth.example"),
        Issuer("cern", "https://auth.example", scope="read"),
        Issuer("cern", token_endpoint="https://auth.example/token"),
        Issuer("cern", "https://auth.example", reuse=30.0),
        Issuer("cern", "https://auth.example", reuse=UNLIMITED),
        Issuer("cern", "https://auth.example", min_lead=1e6),
    ]
)
UNIT = st.floats(0.0, 1.0, exclude_max=True)
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


HOSTILE: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from([0, -1, 1, None, "300", "soon", 1e12, True, [], 1e308, -0.0, 0.5]),
    st.integers(-(10**12), 10**12),
    st.floats(allow_nan=False, allow_infinity=False),
)


@given(HOSTILE, HOSTILE, UNIT, ISSUERS)
def test_no_lifetime_makes_a_hot_loop_or_a_refresh_that_never_comes(
    expires_in: Any, refresh_expires_in: Any, u: float, issuer: Issuer
) -> None:
    """F17."""
    reply = document(access_token="a", expires_in=expires_in, refresh_expires_in=refresh_expires_in)
    after = after_success(INTENT, reply, NOW, issuer, u)
    assert after.status is Status.READY
    assert 1 <= after.lifetime <= MAX_LIFETIME + 1e-3
    assert after.next_refresh is not None
    wait = after.next_refresh - NOW
    assert max(1.0, min(10.0, after.lifetime / 4)) - 1e-5 <= wait
    assert wait <= max(1.0, after.lifetime) + 1e-5


def grants() -> st.SearchStrategy[Grant]:
    """Grants in the middle of something."""
    return st.builds(
        lambda base, status, failures, reason, issued, life: replace(
            base,
            status=status,
            failures=failures,
            failure_reason=reason,
            issued_at=issued,
            expires_at=issued + life,
        ),
        st.sampled_from([GRANT, INTENT, with_intent(INTENT, "n2", "pod-1", NOW - 100, 60.0)]),
        st.sampled_from([Status.READY, Status.UNCERTAIN, Status.NEEDS_REAUTH, Status.PENDING]),
        st.integers(0, 10),
        st.none() | st.sampled_from(FailureReason),
        st.floats(NOW - 86400, NOW),
        st.sampled_from([0.0, 1.0, 20.0, 300.0, 3600.0, 86400.0]),
    )


@given(grants(), st.sampled_from(FailureReason), st.none() | st.floats(0, 1e9), ISSUERS, UNIT)
def test_no_failure_hastens_or_loses_anything(
    grant: Grant, signal: FailureReason, pause: float | None, issuer: Issuer, u: float
) -> None:
    after = after_failure(grant, Failure(signal, pause), NOW, issuer, u)
    assert after.document == grant.document
    assert (after.generation, after.spent, after.seeds) == (
        grant.generation,
        grant.spent,
        grant.seeds,
    )
    if after.next_refresh is not None:
        quickest = (
            1.0 if issuer.reuse not in (0.0, UNLIMITED) else min_interval(grant.lifetime or 300.0)
        )
        assert after.next_refresh >= NOW + quickest - 1e-5
        assert after.next_refresh <= max(NOW + 3600, grant.expires_at) + 1e-5
    lost = after.status is Status.LOST_ROTATION
    attempts = grant.intent.attempt if grant.intent else 0
    assert not lost or (attempts > 1 and signal is FailureReason.INVALID_GRANT)


@given(grants(), ISSUERS, ISSUERS)
def test_a_new_configuration_only_ever_hastens_and_only_once(
    grant: Grant, old: Issuer, new: Issuer
) -> None:
    grant = replace(grant, fingerprint=old.fingerprint, next_refresh=NOW + 1800)
    after = reschedule_if_obsolete(grant, new, NOW)
    assert reschedule_if_obsolete(after, new, NOW + 5) == after
    assert after.next_refresh in (
        NOW + 1800,
        NOW + min_interval(grant.lifetime or new.default_lifetime),
    )
    if old == new:
        assert after == grant
    if after != grant:
        assert (after.failures, after.failure_reason) == (0, None)


@pytest.mark.parametrize(
    "signal",
    [
        FailureReason.THROTTLED,
        FailureReason.UNREACHABLE,
        FailureReason.INVALID_GRANT,
        FailureReason.LOGIN_REQUIRED,
    ],
)
def test_what_no_configuration_can_mend_is_not_hastened(signal: FailureReason) -> None:
    grant = replace(GRANT, failure_reason=signal, fingerprint="before", next_refresh=NOW + 1800)
    assert reschedule_if_obsolete(grant, Issuer("cern", "https://auth.example"), NOW) == grant


@given(grants(), ISSUERS)
def test_a_request_differs_from_the_configuration_in_a_refused_scope_alone(
    grant: Grant, issuer: Issuer
) -> None:
    refused = after_failure(grant, Failure(FailureReason.INVALID_SCOPE), NOW, issuer, 0.0)
    assert without_refused_scope(refused, issuer) == replace(issuer, scope="")
    assert without_refused_scope(grant, issuer) == issuer


def histories() -> st.SearchStrategy[list[str]]:
    """What others may do to a grant while our exchange is under way."""
    return st.lists(
        st.sampled_from(["label", "intent", "refuse", "rotate", "renew", "reseed"]), max_size=6
    )


def happened(grant: Grant, history: list[str], issuer: Issuer) -> Grant:
    for number, event in enumerate(history):
        if event == "intent":
            grant = with_intent(grant, f"peer-{number}", "pod-2", NOW, 60.0)
        elif event == "refuse":
            grant = after_failure(grant, Failure(FailureReason.FORBIDDEN), NOW, issuer, 0.0)
        elif event == "rotate":
            fresh = document(access_token="a", refresh_token=f"theirs-{number}")
            grant = after_success(grant, fresh, NOW, issuer, 0.0)
        elif event == "renew":
            grant = after_success(grant, document(access_token="b"), NOW, issuer, 0.0)
        elif event == "reseed":
            grant = adopt(source(f"human-{number}"), issuer, NOW + number, grant)
    return grant


@given(histories(), st.booleans(), ISSUERS)
def test_a_commit_is_rebased_exactly_when_nobody_else_got_tokens_or_a_login(
    history: list[str],
    rotates: bool,  # noqa: FBT001 - hypothesis
    issuer: Issuer,
) -> None:
    """Section 4.6: a reply in hand is never dropped for anything less."""
    fields = {"access_token": "mine"} | ({"refresh_token": "mine"} if rotates else {})
    after = after_success(INTENT, document(**fields), NOW, issuer, 0.0)
    stored = happened(INTENT, history, issuer)
    conflict = classify_conflict(stored, INTENT, after)
    theirs = {"rotate", "renew", "reseed"} & set(history)
    assert (conflict is Conflict.REBASE) is not bool(theirs)
    if conflict is Conflict.ARRIVED:
        assert (stored.live_hash, stored.generation) == (after.live_hash, after.generation)
    if theirs:
        assert stored.generation >= after.generation
    if history[-1:] == ["reseed"]:
        assert conflict is Conflict.RESEEDED


@given(objects(), objects())
def test_a_mirror_that_is_written_can_be_read_back_as_a_source(
    old: tuple[str, dict[str, str]], said: tuple[str, dict[str, str]]
) -> None:
    def secret(text: str) -> Secret:
        texts = {"oauth": text, "clientID": "my-app"}
        return Secret(
            "ns",
            "name",
            annotations={annotations.IS_TOKEN: "true"},
            data={key: Sensitive(value) for key, value in texts.items()},
        )

    try:
        seed = Source.parse(secret(old[0]))
    except InvalidSecret:
        return
    reply, _ = TokenDocument.parse(Sensitive(said[0]))
    merged = seed.document.merge(reply, NOW)
    mirror = Source.parse(secret(merged.to_json().reveal()))
    assert merged.is_mirrorable
    assert mirror.refresh_token == (reply.refresh_token or seed.refresh_token)
    assert json.loads(merged.to_json().reveal())["expires_at"] == NOW
