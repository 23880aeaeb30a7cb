import pytest

from csidriver.core import annotations
from csidriver.core.kubernetes.timestamp import format_rfc3339
from csidriver.core.oauth.issuers import Issuer, Issuers
from csidriver.kubectl.client import Kubectl
from csidriver.kubectl.doctor.finding import Finding, Level
from csidriver.kubectl.doctor.user_checks import check_rights, check_tokens
from tests.kubectl.doctor.healthy import answer_reads
from tests.kubectl.printed import EXPIRING, NEEDS_REAUTH, NOW, READY, WAITING, secret
from tests.kubectl.stand_in import StandIn

OK, WARNING, PROBLEM = Level.OK, Level.WARNING, Level.PROBLEM
ISSUERS = Issuers({"cern": Issuer("cern", default=True), "other": Issuer("other")})
HERE = "--namespace=team-a"
pytestmark = pytest.mark.usefixtures("healthy")


def test_missing_rights_are_a_problem_of_a_user_who_may_have_no_name(stand_in: StandIn) -> None:
    (found,) = check_rights(Kubectl(), "team-a")
    assert found.message == "you may get, create and patch Secrets in namespace team-a"
    stand_in.answer("can-i", stdout="no\n", status=1)
    stand_in.answer("whoami", stderr="error: no such command\n", status=1)
    (found,) = check_rights(Kubectl(), "team-a")
    assert found.level is PROBLEM
    assert "you may not get, create or patch Secrets" in found.message
    assert found.cure.endswith("--user=USER")


def tokens(stand_in: StandIn, *lines: str, name: str = "") -> dict[str, Finding]:
    answer_reads(stand_in, "secrets", stdout="".join(lines))
    return {found.check: found for found in check_tokens(Kubectl(), HERE, ISSUERS, name)}


def test_tokens_are_counted_by_issuer(stand_in: StandIn) -> None:
    unbound = {key: text for key, text in READY.items() if key != annotations.BOUND_ISSUER}
    strange = {**READY, annotations.BOUND_ISSUER: "strange"}
    lines = [secret("team-a", f"t{i}", unbound if i else READY) for i in range(3)]
    found = tokens(stand_in, *lines, secret("team-a", "x", strange), secret("team-a", "y", {}))
    assert {name: each.message for name, each in found.items()} == {
        "cern": "3 tokens: 3 Ready",
        "other": "there is no token of this issuer",
        "strange": "1 token: 1 Ready",
    }
    assert {each.level for each in found.values()} == {OK}
    assert list(tokens(stand_in, *lines, name="other")) == ["other"]


UNMET = {annotations.STATUS: "", annotations.MESSAGE: ""}
EXPIRED = {annotations.EXPIRES_AT: format_rfc3339(NOW - 1)}


@pytest.mark.parametrize(
    ("change", "level", "text", "step"),
    [
        (NEEDS_REAUTH, PROBLEM, "is NeedsReauth: the refresh token is", "login"),
        (EXPIRED, PROBLEM, "is Ready: the access", "describe"),
        (UNMET, WARNING, "is Pending: the refresher has not met it", "describe"),
        (WAITING, WARNING, "is WaitsForLogin: Secret mail, from", "describe"),
        (EXPIRING, WARNING, "has the warning RefreshTokenExpiring", "login"),
    ],
)
def test_the_worst_token_is_named_with_its_command(
    stand_in: StandIn, change: dict[str, str], level: Level, text: str, step: str
) -> None:
    names = {"a": READY, "mail": READY | change, "z": EXPIRING if level is PROBLEM else READY}
    lines = [secret("team-a", name, values) for name, values in names.items()]
    found = tokens(stand_in, *lines)["cern"]
    assert found.level is level
    assert f"; Secret team-a/mail {text}" in found.message
    assert found.cure == f"run: kubectl oauth2-csi {step} mail -n team-a"
    assert f"{step} mail" not in found.message
