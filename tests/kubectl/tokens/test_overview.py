"""Cells and objects of tokens."""

import pytest

from csidriver.core import annotations
from csidriver.core.names import SourceRef
from csidriver.kubectl.client import Kubectl
from csidriver.kubectl.tokens.overview import (
    Overview,
    age,
    overviews,
    remaining,
)
from csidriver.kubectl.tokens.pod_volumes import PodVolume
from csidriver.kubectl.tokens.token import read_token
from tests.kubectl.printed import NEEDS_REAUTH, NOW, READY, WAITING, secret
from tests.kubectl.stand_in import StandIn


def overview(stand_in: StandIn, values: dict[str, str], pods: list[str] | None) -> Overview:
    stand_in.answer("secrets", stdout=secret("team-a", "mail", values))
    return Overview(read_token(Kubectl(), SourceRef("team-a", "mail")), pods)


def volume(pod: str, name: str, phase: str = "Running") -> PodVolume:
    return PodVolume(SourceRef("team-a", "mail"), pod, name, phase, "node", "token", ())


def test_a_message_with_the_command_of_the_login_gets_no_other(stand_in: StandIn) -> None:
    named = {**WAITING, annotations.MESSAGE: "it waits; run: kubectl oauth2-csi login mail"}
    assert overview(stand_in, named, []).message(NOW) == named[annotations.MESSAGE]
    message = overview(stand_in, {**WAITING, annotations.MESSAGE: "it waits"}, []).message(NOW)
    assert message == "it waits; run: kubectl oauth2-csi describe mail -n team-a"


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
