import json

import pytest
import yaml

from tests.kubectl.golden_files import assert_golden
from tests.kubectl.printed import EXPIRING, NEEDS_REAUTH, ROBOT, WAITING, pod, secret
from tests.kubectl.stand_in import CommandLine

TOKENS = (
    secret("team-a", "hello-token")
    + secret("team-a", "mail", NEEDS_REAUTH)
    + secret("team-a", "mail-api", WAITING)
    + secret("team-a", "robot", ROBOT)
    + secret("team-a", "storage", EXPIRING)
    + secret("team-a", "unrelated", {})
)
PODS = pod("reader-1", "hello-token") + pod("reader-2", "hello-token") + pod("mailer", "mail")


@pytest.fixture
def cli(cli: CommandLine) -> CommandLine:
    cli.cluster.answer("secrets", stdout=TOKENS)
    cli.cluster.answer("secrets", "hello-token", stdout=secret("team-a", "hello-token"))
    cli.cluster.answer("pods", stdout=PODS)
    return cli


@pytest.mark.parametrize(
    ("words", "golden"),
    [
        ("status", "status.txt"),
        ("status -A", "status-all-namespaces.txt"),
        ("status -o wide", "status-wide.txt"),
        ("status hello-token", "status-one.txt"),
        ("status hello-token -o json", "status-one.json"),
    ],
)
def test_status_prints_what_the_golden_file_has(cli: CommandLine, words: str, golden: str) -> None:
    out, err = cli.run(*words.split())
    assert_golden(golden, out)
    assert err == ""
    assert cli.cluster.calls


def test_other_forms_have_the_same_tokens(cli: CommandLine) -> None:
    names = [token.split('"')[3] for token in TOKENS.splitlines()[:-1]]
    rows, lines = cli.run("status")[0].splitlines(), cli.run("status", "--no-headers")[0]
    assert [line.split() for line in lines.splitlines()] == [row.split() for row in rows[1:]]
    assert cli.run("status", "-o", "name")[0].split() == [f"secret/{name}" for name in names]
    document = json.loads(cli.run("status", "-o", "json")[0])
    assert [item["metadata"]["name"] for item in document["items"]] == names
    assert [item["status"].get("login") for item in document["items"]].count("mail") == 1
    assert document["items"][-1]["status"]["warnings"] == ["RefreshTokenExpiring", "TrailingBytes"]
    assert yaml.safe_load(cli.run("status", "-o", "yaml")[0]) == document


def test_no_token_at_all_is_said_and_no_failure(cli: CommandLine) -> None:
    cli.cluster.answer("secrets", stdout=secret("team-a", "unrelated", {}))
    assert cli.run("status") == ("", "No resources found in team-a namespace.\n")
    assert cli.run("status", "-A") == ("", "No resources found\n")
    assert cli.run("status", "-o", "name") == ("", "")


def test_a_name_in_a_namespace_that_does_not_exist_gets_no_advice_to_log_in(
    cli: CommandLine,
) -> None:
    absent = "Error from server (NotFound): {} not found\n"
    cli.cluster.answer("secrets", "mail", stderr=absent.format('secrets "mail"'), status=1)
    cli.cluster.answer("namespace/absent", stderr=absent.format('namespaces "absent"'), status=1)
    _, err = cli.run("status", "mail", "-n", "absent", status=1)
    assert err == "error: there is no namespace absent; kubectl get namespaces lists them\n"


def test_pods_that_may_not_be_listed_are_unknown(cli: CommandLine) -> None:
    forbidden = "Error from server (Forbidden): pods is forbidden\n"
    cli.cluster.answer("pods", stderr=forbidden, status=1)
    assert "<unknown>" in cli.run("status")[0]


def test_a_name_and_all_namespaces_exclude_each_other(cli: CommandLine) -> None:
    assert "a name is of one namespace" in cli.run("status", "hello-token", "-A", status=1)[1]
