import json

import pytest

from csidriver.core import annotations
from csidriver.core.kubernetes.timestamp import format_rfc3339
from tests.kubectl.printed import NEEDS_REAUTH, NOW, READY, secret
from tests.kubectl.stand_in import CommandLine

NEW = {
    **READY,
    annotations.REFRESHED_AT: format_rfc3339(NOW),
    annotations.EXPIRES_AT: format_rfc3339(NOW + 600),
}


@pytest.fixture
def cli(cli: CommandLine) -> CommandLine:
    cli.cluster.answer("secrets", stdout=secret("team-a", "mail"))
    cli.cluster.answer("patch", stdout="secret/mail\n")
    return cli


def patches(cli: CommandLine) -> list[str]:
    return [call.body for call in cli.cluster.calls if "patch" in call.words]


def test_a_request_is_an_annotation(cli: CommandLine) -> None:
    out, err = cli.run("refresh", "mail")
    (body,) = patches(cli)
    wish = {"oauth2.csi.cern.ch/refresh-requested-at": "2027-01-15T08:00:00Z"}
    assert json.loads(body) == {"metadata": {"annotations": wish}}
    assert out == "secret/mail refresh requested\n"
    assert "gets a new token at once" in err
    assert "kubectl oauth2-csi status mail -n team-a -w" in err


def test_a_request_soon_after_a_refresh_says_how_long_it_takes(cli: CommandLine) -> None:
    values = {**READY, annotations.REFRESHED_AT: format_rfc3339(NOW - 4)}
    cli.cluster.answer("secrets", stdout=secret("team-a", "mail", values))
    _, err = cli.run("refresh", "mail")
    assert "in 6s: two refreshes are at least 10s apart" in err


def test_a_token_that_no_request_helps_is_not_touched(cli: CommandLine) -> None:
    away = {**READY, annotations.STATUS: "IssuerUnavailable"}
    tokens: list[tuple[dict[str, str], str]] = [
        (NEEDS_REAUTH, "kubectl oauth2-csi login mail -n team-a"),
        (away, "the next attempt is in 75s; run: kubectl oauth2-csi doctor cern"),
        ({annotations.IS_TOKEN: "true"}, "is Pending: the refresher has not met it"),
    ]
    for values, text in tokens:
        cli.cluster.answer("secrets", "mail", stdout=secret("team-a", "mail", values))
        assert text in cli.run("refresh", "mail", status=1)[1]
    assert patches(cli) == []


def test_a_wait_ends_with_the_new_token(cli: CommandLine) -> None:
    lines = secret("team-a", "mail", event="ADDED") + secret("team-a", "mail", NEW, "MODIFIED")
    cli.cluster.answer("--watch", stdout=lines)
    out, _ = cli.run("refresh", "mail", "--wait")
    assert out.endswith("secret/mail refreshed, expires in 10m\n")


def test_a_wait_ends_when_the_refresh_fails_or_the_token_is_gone(cli: CommandLine) -> None:
    ends = {"is NeedsReauth": (NEEDS_REAUTH, "MODIFIED"), "was deleted": (READY, "DELETED")}
    for text, (values, event) in ends.items():
        cli.cluster.answer("--watch", stdout=secret("team-a", "mail", values, event))
        assert text in cli.run("refresh", "mail", "--wait", status=1)[1]


def test_a_wait_has_an_end(cli: CommandLine) -> None:
    cli.cluster.answer("--watch", stdout=secret("team-a", "mail", event="ADDED"))
    _, err = cli.run("refresh", "mail", "--wait", "--timeout", "0.2", status=1)
    assert "kubectl oauth2-csi describe mail -n team-a" in err
