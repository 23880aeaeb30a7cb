"""`describe`, against golden files."""

import pytest

from csidriver.core import annotations
from csidriver.core.kubernetes.timestamp import format_rfc3339
from csidriver.kubectl.main import main
from tests.kubectl.golden_files import assert_golden
from tests.kubectl.printed import EXPIRING, NEEDS_REAUTH, NOW, WAITING, Capture, pod, secret
from tests.kubectl.stand_in import StandIn
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
def cluster(stand_in: StandIn, fixed_time: float) -> StandIn:  # noqa: ARG001 - sets the time
    stand_in.answer("config", stdout="team-a")
    tokens = {"mail": NEEDS_REAUTH, "mail-api": WAITING, "storage": EXPIRING}
    for name, values in tokens.items():
        stand_in.answer("secrets", name, stdout=secret("team-a", name, values))
    waiting = pod("mailer-2", "mail", phase="Pending", node="node-2")
    stand_in.answer("pods", stdout=pod("mailer", "mail") + waiting + pod("reader", "other"))
    stand_in.answer("events", stdout={"items": []})
    own = "--field-selector=involvedObject.kind=Secret,involvedObject.name=mail"
    stand_in.answer("events", own, stdout={"items": [EVENTS]})
    mounts = "--field-selector=involvedObject.kind=Pod,reason=FailedMount"
    stand_in.answer("events", mounts, stdout={"items": [MOUNTS]})
    return stand_in


@pytest.mark.parametrize("name", ["mail", "mail-api", "storage"])
def test_describe_prints_what_the_golden_file_has(
    cluster: StandIn, capsys: Capture, name: str
) -> None:
    assert main(["describe", name]) == 0
    printed = capsys.readouterr()
    assert_golden(f"describe-{name}.txt", printed.out)
    assert printed.err == ""
    assert cluster.calls


def test_what_may_not_be_listed_is_said(cluster: StandIn, capsys: Capture) -> None:
    cluster.answer("pods", stderr=FORBIDDEN, status=1)
    cluster.answer("events", stderr=FORBIDDEN, status=1)
    assert main(["describe", "mail"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for title in ("Pods:", "Events:"):
        (line,) = [line for line in lines if line.startswith(title)]
        assert line.endswith("<you may not list them>")


def test_a_token_that_does_not_exist_is_a_failure(cluster: StandIn, capsys: Capture) -> None:
    absent = 'Error from server (NotFound): secrets "absent" not found\n'
    cluster.answer("absent", stderr=absent, status=1)
    assert main(["describe", "absent"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: there is no Secret absent in namespace team-a; if it is in")
    assert error.endswith("here: kubectl oauth2-csi login absent -n team-a\n")


def test_a_hostile_message_cannot_control_the_terminal(cluster: StandIn, capsys: Capture) -> None:
    values = {**EXPIRING, annotations.MESSAGE: "\x1b]0;title\x07"}
    cluster.answer("secrets", stdout=secret("team-a", "hostile", values))
    assert main(["describe", "hostile"]) == 0
    assert "\x1b" not in capsys.readouterr().out
