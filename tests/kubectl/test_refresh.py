"""`refresh`: the request, and what it says of it."""

import json

import pytest

from csidriver.core import annotations
from csidriver.core.kubernetes.timestamp import format_rfc3339
from csidriver.kubectl.main import main
from tests.kubectl.printed import NEEDS_REAUTH, NOW, READY, Capture, secret
from tests.kubectl.stand_in import StandIn

NEW = {
    **READY,
    annotations.REFRESHED_AT: format_rfc3339(NOW),
    annotations.EXPIRES_AT: format_rfc3339(NOW + 600),
}


@pytest.fixture
def cluster(stand_in: StandIn, fixed_time: float) -> StandIn:  # noqa: ARG001 - sets the time
    stand_in.answer("config", stdout="team-a")
    stand_in.answer("secrets", stdout=secret("team-a", "mail"))
    stand_in.answer("patch", stdout="secret/mail\n")
    return stand_in


def patches(cluster: StandIn) -> list[str]:
    return [call.body for call in cluster.calls if "patch" in call.words]


def test_a_request_is_an_annotation(cluster: StandIn, capsys: Capture) -> None:
    assert main(["refresh", "mail"]) == 0
    (body,) = patches(cluster)
    wish = {"oauth2.csi.cern.ch/refresh-requested-at": "2027-01-15T08:00:00Z"}
    assert json.loads(body) == {"metadata": {"annotations": wish}}
    printed = capsys.readouterr()
    assert printed.out == "secret/mail refresh requested\n"
    assert "gets a new token at once" in printed.err
    assert "kubectl oauth2-csi status mail -n team-a -w" in printed.err


def test_a_request_soon_after_a_refresh_says_how_long_it_takes(
    cluster: StandIn, capsys: Capture
) -> None:
    values = {**READY, annotations.REFRESHED_AT: format_rfc3339(NOW - 4)}
    cluster.answer("secrets", stdout=secret("team-a", "mail", values))
    assert main(["refresh", "mail"]) == 0
    assert "in 6s: two refreshes are at least 10s apart" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (NEEDS_REAUTH, ["is NeedsReauth", "kubectl oauth2-csi login mail -n team-a"]),
        (
            {**READY, annotations.STATUS: "IssuerUnavailable"},
            ["the next attempt is in 75s", "run: kubectl oauth2-csi doctor cern"],
        ),
        ({annotations.IS_TOKEN: "true"}, ["is Pending: the refresher has not met it"]),
    ],
)
def test_a_token_that_no_request_helps_is_not_touched(
    cluster: StandIn, capsys: Capture, values: dict[str, str], texts: list[str]
) -> None:
    cluster.answer("secrets", stdout=secret("team-a", "mail", values))
    assert main(["refresh", "mail"]) == 1
    error = capsys.readouterr().err
    assert [text for text in texts if text not in error] == []
    assert patches(cluster) == []


def test_a_wait_ends_with_the_new_token(cluster: StandIn, capsys: Capture) -> None:
    lines = secret("team-a", "mail", event="ADDED") + secret("team-a", "mail", NEW, "MODIFIED")
    cluster.answer("--watch", stdout=lines)
    assert main(["refresh", "mail", "--wait"]) == 0
    assert capsys.readouterr().out.endswith("secret/mail refreshed, expires in 10m\n")


@pytest.mark.parametrize(
    ("values", "event", "text"),
    [
        (NEEDS_REAUTH, "MODIFIED", "is NeedsReauth"),
        (READY, "DELETED", "was deleted"),
        ({}, "MODIFIED", "lost its annotation"),
    ],
)
def test_a_wait_ends_when_the_refresh_fails(
    cluster: StandIn,
    capsys: Capture,
    values: dict[str, str],
    event: str,
    text: str,
) -> None:
    cluster.answer("--watch", stdout=secret("team-a", "mail", values, event))
    assert main(["refresh", "mail", "--wait"]) == 1
    assert text in capsys.readouterr().err


def test_a_wait_has_an_end(cluster: StandIn, capsys: Capture) -> None:
    cluster.answer("--watch", stdout=secret("team-a", "mail", event="ADDED"))
    assert main(["refresh", "mail", "--wait", "--timeout", "0.2"]) == 1
    assert "kubectl oauth2-csi describe mail -n team-a" in capsys.readouterr().err
