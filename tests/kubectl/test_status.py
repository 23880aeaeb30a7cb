"""The tables of `status`, against golden files."""

import pytest

from csidriver.kubectl.main import main
from tests.kubectl.golden_files import assert_golden
from tests.kubectl.printed import EXPIRING, NEEDS_REAUTH, ROBOT, WAITING, Capture, pod, secret
from tests.kubectl.stand_in import StandIn

TOKENS = (
    secret("team-a", "hello-token")
    + secret("team-a", "mail", NEEDS_REAUTH)
    + secret("team-a", "mail-api", WAITING)
    + secret("team-a", "robot", ROBOT)
    + secret("team-a", "storage", EXPIRING)
    + secret("team-a", "unrelated", {})
)
PODS = pod("reader-1", "hello-token") + pod("reader-2", "hello-token") + pod("mailer", "mail")
FORBIDDEN = 'Error from server (Forbidden): {} is forbidden: User "u" cannot list resource\n'


@pytest.fixture
def cluster(stand_in: StandIn, fixed_time: float) -> StandIn:  # noqa: ARG001 - sets the time
    stand_in.answer("config", stdout="team-a")
    stand_in.answer("secrets", stdout=TOKENS)
    stand_in.answer("secrets", "hello-token", stdout=secret("team-a", "hello-token"))
    stand_in.answer("pods", stdout=PODS)
    return stand_in


@pytest.mark.parametrize(
    ("words", "golden"),
    [
        ("status", "status.txt"),
        ("status -A", "status-all-namespaces.txt"),
        ("status -o wide", "status-wide.txt"),
        ("status --no-headers", "status-no-headers.txt"),
        ("status -o name", "status-name.txt"),
        ("status -o json", "status.json"),
        ("status -o yaml", "status.yaml"),
        ("status hello-token", "status-one.txt"),
        ("status hello-token -o json", "status-one.json"),
    ],
)
def test_status_prints_what_the_golden_file_has(
    cluster: StandIn, capsys: Capture, words: str, golden: str
) -> None:
    assert main(words.split()) == 0
    printed = capsys.readouterr()
    assert_golden(golden, printed.out)
    assert printed.err == ""
    assert cluster.calls


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("status", "No resources found in team-a namespace.\n"),
        ("status -A", "No resources found\n"),
        ("status -o name", ""),
    ],
)
def test_no_token_at_all_is_said_and_no_failure(
    cluster: StandIn, capsys: Capture, words: str, error: str
) -> None:
    cluster.answer("secrets", stdout=secret("team-a", "unrelated", {}))
    assert main(words.split()) == 0
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", error)


def test_a_name_in_a_namespace_that_does_not_exist_gets_no_advice_to_log_in(
    cluster: StandIn, capsys: Capture
) -> None:
    absent = "Error from server (NotFound): {} not found\n"
    cluster.answer("secrets", "mail", stderr=absent.format('secrets "mail"'), status=1)
    cluster.answer("namespace/absent", stderr=absent.format('namespaces "absent"'), status=1)
    assert main(["status", "mail", "-n", "absent"]) == 1
    error = "error: there is no namespace absent; kubectl get namespaces lists them\n"
    assert capsys.readouterr().err == error


def test_pods_that_may_not_be_listed_are_unknown(cluster: StandIn, capsys: Capture) -> None:
    cluster.answer("pods", stderr=FORBIDDEN.format("pods"), status=1)
    assert main(["status"]) == 0
    assert "<unknown>" in capsys.readouterr().out


def test_a_name_and_all_namespaces_exclude_each_other(cluster: StandIn, capsys: Capture) -> None:
    assert main(["status", "hello-token", "-A"]) == 1
    assert "a name is of one namespace" in capsys.readouterr().err
    assert cluster.calls == []
