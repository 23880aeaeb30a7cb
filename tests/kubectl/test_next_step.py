import pytest

from csidriver.core import annotations
from csidriver.core.kubernetes.timestamp import format_rfc3339
from csidriver.core.names import SourceRef
from csidriver.core.status import Status
from csidriver.kubectl.next_step import PATIENT, next_step, with_step
from csidriver.kubectl.tokens.token import KEYS, Token
from tests.kubectl.printed import DERIVED, EXPIRING, NOW, READY, ROBOT, WAITING

LOGIN = "kubectl oauth2-csi login mail -n team-a"
DOCTOR = "kubectl oauth2-csi doctor cern"


def token(values: dict[str, str], age: float = 3600.0) -> Token:
    complete = {key: values.get(key, "") for key in KEYS}
    return Token(SourceRef("team-a", "mail"), "uid", format_rfc3339(NOW - age), complete)


def test_a_status_has_a_next_step() -> None:
    steps = {
        **dict.fromkeys((Status.READY, Status.PENDING, Status.UNCERTAIN), ""),
        **dict.fromkeys((Status.ISSUER_UNAVAILABLE, Status.CLIENT_REJECTED), DOCTOR),
        **dict.fromkeys((Status.NEEDS_REAUTH, Status.LOST_ROTATION, Status.INVALID), LOGIN),
        Status.MISCONFIGURED: DOCTOR,
        Status.WAITS_FOR_LOGIN: "",
        Status.DUPLICATE_GRANT: LOGIN,
    }
    for status in Status:
        values = {**READY, annotations.STATUS: status.value}
        assert next_step(token(values), NOW) == steps[status], status


@pytest.mark.parametrize("values", [ROBOT, DERIVED, {**READY, annotations.GRANT_TYPE: "other"}])
def test_no_login_helps_a_secret_that_needs_none(values: dict[str, str]) -> None:
    assert next_step(token({**values, annotations.STATUS: "Invalid"}), NOW) == ""


@pytest.mark.parametrize(
    ("values", "seconds", "step"),
    [
        pytest.param(EXPIRING, 0, LOGIN, id="a login that ends soon"),
        pytest.param(WAITING, 0, "kubectl oauth2-csi describe mail -n team-a", id="its login"),
        pytest.param(READY, 313, DOCTOR, id="an expired token"),
        pytest.param({}, PATIENT - 3601, "", id="not met yet"),
        pytest.param({}, PATIENT - 3599, "kubectl oauth2-csi doctor", id="met by nobody"),
        pytest.param({**READY, annotations.STATUS: "Later"}, 0, "", id="an unknown status"),
    ],
)
def test_other_things_than_the_status_count_too(
    values: dict[str, str], seconds: float, step: str
) -> None:
    assert next_step(token(values), NOW + seconds) == step


def test_an_issuer_of_a_user_is_quoted() -> None:
    values = {**READY, annotations.STATUS: "Misconfigured", annotations.BOUND_ISSUER: "a; rm"}
    assert next_step(token(values), NOW) == "kubectl oauth2-csi doctor 'a; rm'"


def test_a_text_ends_in_one_command() -> None:
    assert with_step("it is late", "") == "it is late"
    assert with_step("it is late", "act") == "it is late; run: act"
    assert with_step("", "act") == "run: act"
    assert with_step("it is late; run: this", "act") == "it is late; run: this"
