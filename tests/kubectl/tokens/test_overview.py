"""Cells and objects of tokens."""

import pytest

from csidriver.core import annotations
from csidriver.core.names import SourceRef
from csidriver.kubectl.client import Kubectl
from csidriver.kubectl.tokens.overview import (
    HEADERS,
    WIDE_HEADERS,
    Overview,
    age,
    overviews,
    remaining,
)
from csidriver.kubectl.tokens.pod_volumes import PodVolume
from csidriver.kubectl.tokens.token import read_token
from tests.kubectl.printed import DERIVED, EXPIRING, NEEDS_REAUTH, NOW, READY, WAITING, secret
from tests.kubectl.stand_in import StandIn


def overview(stand_in: StandIn, values: dict[str, str], pods: list[str] | None) -> Overview:
    stand_in.answer("secrets", stdout=secret("team-a", "mail", values))
    return Overview(read_token(Kubectl(), SourceRef("team-a", "mail")), pods)


def volume(pod: str, name: str, phase: str = "Running") -> PodVolume:
    return PodVolume(SourceRef("team-a", "mail"), pod, name, phase, "node", "token", ())


def test_a_row_has_a_cell_for_each_header(stand_in: StandIn) -> None:
    row = overview(stand_in, READY, ["a", "b"]).row(NOW, wide=False)
    assert dict(zip(HEADERS, row, strict=True)) == {
        "NAMESPACE": "team-a",
        "NAME": "mail",
        "ISSUER": "cern",
        "GRANT": "refresh_token",
        "STATUS": "Ready",
        "EXPIRES": "5m12s",
        "REFRESH": "75s",
        "PODS": "2",
        "MESSAGE": "the access token is fresh",
    }


def test_a_wide_row_has_more_cells(stand_in: StandIn) -> None:
    row = overview(stand_in, EXPIRING, []).row(NOW, wide=True)
    cells = dict(zip(WIDE_HEADERS, row, strict=True))
    assert (cells["REFRESHED"], cells["LOGIN ENDS"], cells["AGE"]) == ("14m", "3d", "5d")
    assert cells["WARNING"] == "RefreshTokenExpiring,TrailingBytes"


def test_a_warning_of_a_token_that_works_is_its_message(stand_in: StandIn) -> None:
    message = overview(stand_in, EXPIRING, []).message(NOW)
    assert message == (
        "RefreshTokenExpiring, TrailingBytes; run: kubectl oauth2-csi login mail -n team-a"
    )


def test_a_step_in_the_message_is_not_repeated(stand_in: StandIn) -> None:
    message = overview(stand_in, NEEDS_REAUTH, []).message(NOW)
    assert message == NEEDS_REAUTH[annotations.MESSAGE]
    assert message.count("run:") == 1


def test_a_message_with_the_command_of_the_login_gets_no_other(stand_in: StandIn) -> None:
    named = {**WAITING, annotations.MESSAGE: "it waits; run: kubectl oauth2-csi login mail"}
    assert overview(stand_in, named, []).message(NOW) == named[annotations.MESSAGE]
    message = overview(stand_in, {**WAITING, annotations.MESSAGE: "it waits"}, []).message(NOW)
    assert message == "it waits; run: kubectl oauth2-csi describe mail -n team-a"


def test_a_derived_token_has_its_login_beside_the_grant(stand_in: StandIn) -> None:
    derived = overview(stand_in, DERIVED, [])
    cells = dict(zip(HEADERS, derived.row(NOW, wide=False), strict=True))
    assert cells["GRANT"] == "token-exchange (mail)"
    status = derived.to_object()["status"]
    assert (status["grantType"], status["login"]) == ("token-exchange", "mail")


def test_what_is_unknown_or_over_is_said(stand_in: StandIn) -> None:
    row = overview(stand_in, NEEDS_REAUTH, None).row(NOW, wide=False)
    assert row[5:8] == ["expired", "<none>", "<unknown>"]


@pytest.mark.parametrize(
    ("instant", "text"), [(None, "<none>"), (NOW, "due"), (NOW - 1, "due"), (NOW + 61, "61s")]
)
def test_an_instant_is_the_time_until_it(instant: float | None, text: str) -> None:
    assert remaining(instant, NOW, "due") == text


@pytest.mark.parametrize(
    ("instant", "text"), [(None, "<none>"), (NOW + 3, "0s"), (NOW - 61, "61s")]
)
def test_an_age_is_never_negative(instant: float | None, text: str) -> None:
    assert age(instant, NOW) == text


def test_pods_that_mount_are_counted_once(stand_in: StandIn) -> None:
    token = overview(stand_in, READY, None).token
    volumes = [volume("b", "one"), volume("a", "one"), volume("a", "two")]
    volumes.append(volume("ended", "one", "Succeeded"))
    assert overviews([token], volumes) == [Overview(token, ["a", "b"])]
    assert overviews([token], None) == [Overview(token, None)]


def test_an_object_leaves_out_what_is_unknown(stand_in: StandIn) -> None:
    status = overview(stand_in, NEEDS_REAUTH, None).to_object()["status"]
    assert "pods" not in status
    assert "nextRefresh" not in status
    assert "login" not in status
    assert (status["status"], status["issuer"]) == ("NeedsReauth", "cern")
