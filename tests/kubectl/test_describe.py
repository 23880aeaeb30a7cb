import pytest

from csidriver.core.kubernetes.timestamp import format_rfc3339
from tests.kubectl.golden_files import assert_golden
from tests.kubectl.printed import EXPIRING, NEEDS_REAUTH, NOW, WAITING, pod, secret
from tests.kubectl.stand_in import CommandLine
from tests.kubectl.test_event_rows import event

EVENTS = event(
    *("Secret", "mail", 130),
    message="the refresh token is no longer valid",
    firstTimestamp=format_rfc3339(NOW - 600),
    count=2,
)
MOUNTS = event(
    *("Pod", "mailer-2", 45),
    reason="FailedMount",
    message='MountVolume.SetUp failed for volume "token"',
    source={"component": "kubelet"},
)
FORBIDDEN = "Error from server (Forbidden): it is forbidden\n"


@pytest.fixture
def cli(cli: CommandLine) -> CommandLine:
    tokens = {"mail": NEEDS_REAUTH, "mail-api": WAITING, "storage": EXPIRING}
    for name, values in tokens.items():
        cli.cluster.answer("secrets", name, stdout=secret("team-a", name, values))
    waiting = pod("mailer-2", "mail", phase="Pending", node="node-2")
    cli.cluster.answer("pods", stdout=pod("mailer", "mail") + waiting + pod("reader", "other"))
    cli.cluster.answer("events", stdout={"items": []})
    own = "--field-selector=involvedObject.kind=Secret,involvedObject.name=mail"
    cli.cluster.answer("events", own, stdout={"items": [EVENTS]})
    mounts = "--field-selector=involvedObject.kind=Pod,reason=FailedMount"
    other = event("Pod", "reader", 30)
    cli.cluster.answer("events", mounts, stdout={"items": [MOUNTS, other]})
    return cli


def test_describe_prints_what_the_golden_file_has(cli: CommandLine) -> None:
    out, err = cli.run("describe", "mail")
    assert_golden("describe-mail.txt", out)
    assert err == ""


def test_what_only_some_tokens_have_is_printed_too(cli: CommandLine) -> None:
    derived = cli.run("describe", "mail-api")[0].splitlines()
    assert {"Grant type:    token-exchange (mail)", "Events:        <none>"} < {*derived}
    assert derived[-1] == "Next step:  kubectl oauth2-csi describe mail -n team-a"
    expiring = cli.run("describe", "storage")[0]
    assert "Login ends:    Mon, 18 Jan 2027 08:00:00 +0000 (in 3d)\n" in expiring
    assert "Warnings:      RefreshTokenExpiring: the refresh token expires soon\n" in expiring
    assert "               TrailingBytes: the document has surplus braces;" in expiring


def test_what_may_not_be_listed_is_said(cli: CommandLine) -> None:
    cli.cluster.answer("pods", stderr=FORBIDDEN, status=1)
    cli.cluster.answer("events", stderr=FORBIDDEN, status=1)
    lines = cli.run("describe", "mail")[0].splitlines()
    assert {f"{title:<15}<you may not list them>" for title in ("Pods:", "Events:")} < {*lines}


def test_a_token_that_does_not_exist_is_a_failure(cli: CommandLine) -> None:
    absent = 'Error from server (NotFound): secrets "absent" not found\n'
    cli.cluster.answer("absent", stderr=absent, status=1)
    _, err = cli.run("describe", "absent", status=1)
    assert err.startswith("error: there is no Secret absent in namespace team-a; if it is in")
    assert err.endswith("here: kubectl oauth2-csi login absent -n team-a\n")
