"""The next step for each status."""

import pytest

from csidriver.core import annotations
from csidriver.core.kubernetes.timestamp import format_rfc3339
from csidriver.core.names import SourceRef
from csidriver.core.status import Status
from csidriver.kubectl.next_step import (
    PATIENT,
    next_step,
    watch_command,
    with_step,
)
from csidriver.kubectl.tokens.token import KEYS, Token
from tests.kubectl.printed import DERIVED, EXPIRING, NEEDS_REAUTH, NOW, READY, ROBOT, WAITING

LOGIN = "kubectl oauth2-csi login mail -n team-a"
DOCTOR = "kubectl oauth2-csi doctor cern"


def token(values: dict[str, str], age: float = 3600.0) -> Token:
    complete = {key: values.get(key, "") for key in KEYS}
    return Token(SourceRef("team-a", "mail"), "uid", format_rfc3339(NOW - age), complete)


@pytest.mark.parametrize(
    ("status", "step"),
    [
        (Status.READY, ""),
        (Status.PENDING, ""),
        (Status.UNCERTAIN, ""),
        (Status.ISSUER_UNAVAILABLE, DOCTOR),
        (Status.CLIENT_REJECTED, DOCTOR),
        (Status.MISCONFIGURED, DOCTOR),
        (Status.WAITS_FOR_LOGIN, ""),
        (Status.NEEDS_REAUTH, LOGIN),
        (Status.LOST_ROTATION, LOGIN),
        (Status.DUPLICATE_GRANT, LOGIN),
        (Status.INVALID, LOGIN),
    ],
)
def test_a_status_has_a_next_step(status: Status, step: str) -> None:
    assert next_step(token({**READY, annotations.STATUS: status.value}), NOW) == step


def test_every_status_is_in_the_table_above() -> None:
    assert len(Status) == 11


def test_a_login_that_ends_soon_is_renewed() -> None:
    assert next_step(token(EXPIRING), NOW) == LOGIN


def test_a_token_that_waits_leads_to_its_login() -> None:
    assert next_step(token(WAITING), NOW) == "kubectl oauth2-csi describe mail -n team-a"


@pytest.mark.parametrize("values", [ROBOT, DERIVED, {**READY, annotations.GRANT_TYPE: "other"}])
@pytest.mark.parametrize("status", [Status.INVALID, Status.DUPLICATE_GRANT])
def test_no_login_helps_a_secret_that_needs_none(values: dict[str, str], status: Status) -> None:
    assert next_step(token({**values, annotations.STATUS: status.value}), NOW) == ""


def test_a_login_comes_before_the_doctor() -> None:
    assert next_step(token(NEEDS_REAUTH), NOW) == LOGIN


def test_an_expired_token_is_a_case_for_the_doctor() -> None:
    assert next_step(token(READY), NOW + 313) == DOCTOR


@pytest.mark.parametrize(
    ("age", "step"), [(PATIENT - 1, ""), (PATIENT + 1, "kubectl oauth2-csi doctor")]
)
def test_a_token_that_nobody_meets_is_a_case_for_the_doctor(age: float, step: str) -> None:
    assert next_step(token({annotations.IS_TOKEN: "true"}, age), NOW) == step


def test_an_unknown_status_has_no_step() -> None:
    assert next_step(token({**READY, annotations.STATUS: "Later"}), NOW) == ""


def test_an_issuer_of_a_user_is_quoted() -> None:
    values = {**READY, annotations.STATUS: "Misconfigured", annotations.BOUND_ISSUER: "a; rm"}
    assert next_step(token(values), NOW) == "kubectl oauth2-csi doctor 'a; rm'"


@pytest.mark.parametrize(
    ("text", "step", "whole"),
    [
        ("it is late", "", "it is late"),
        ("it is late", "act", "it is late; run: act"),
        ("", "act", "run: act"),
        ("it is late; run: this", "act", "it is late; run: this"),
    ],
)
def test_a_text_ends_in_one_command(text: str, step: str, whole: str) -> None:
    assert with_step(text, step) == whole


def test_a_watch_is_a_command() -> None:
    command = "kubectl oauth2-csi status mail -n team-a -w"
    assert watch_command(SourceRef("team-a", "mail")) == command
