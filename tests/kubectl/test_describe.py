import pytest

from csidriver.core import annotations
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


@pytest.mark.parametrize("name", ["mail", "mail-api", "storage"])
def test_describe_prints_what_the_golden_file_has(cli: CommandLine, name: str) -> None:
    out, err = cli.run("describe", name)
    assert_golden(f"describe-{name}.txt", out)
    assert err == ""
    assert cli.cluster.calls


def test_what_may_not_be_listed_is_said(cli: CommandLine) -> None:
    cli.cluster.answer("pods", stderr=FORBIDDEN, status=1)
    cli.cluster.answer("events", stderr=FORBIDDEN, status=1)
    out, _ = cli.run("describe", "mail")
    lines = out.splitlines()
    for title in ("Pods:", "Events:"):
        (line,) = [line for line in lines if line.startswith(title)]
        assert line.endswith("<you may not list them>")


def test_a_token_that_does_not_exist_is_a_failure(cli: CommandLine) -> None:
    absent = 'Error from server (NotFound): secrets "absent" not found\n'
    cli.cluster.answer("absent", stderr=absent, status=1)
    _, err = cli.run("describe", "absent", status=1)
    assert err.startswith("error: there is no Secret absent in namespace team-a; if it is in")
    assert err.endswith("here: kubectl oauth2-csi login absent -n team-a\n")


def test_a_hostile_message_cannot_control_the_terminal(cli: CommandLine) -> None:
    values = {**EXPIRING, annotations.MESSAGE: "\x1b]0;title\x07"}
    cli.cluster.answer("secrets", stdout=secret("team-a", "hostile", values))
    out, _ = cli.run("describe", "hostile")
    assert "\x1b" not in out
