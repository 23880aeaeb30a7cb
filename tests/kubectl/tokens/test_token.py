from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from csidriver.core import annotations
from csidriver.core.names import SourceRef
from csidriver.kubectl.client import Kubectl
from csidriver.kubectl.errors import KubectlFailed, NotFound
from csidriver.kubectl.tokens.pod_volumes import watch_pod_volumes
from csidriver.kubectl.tokens.token import KEYS, read_token, read_tokens, watch_tokens
from tests.kubectl.printed import DERIVED, READY, ROBOT, secret
from tests.kubectl.stand_in import StandIn

REF = SourceRef("team-a", "mail")


def test_only_chosen_fields_are_asked_for(stand_in: StandIn) -> None:
    stand_in.answer("secrets")
    read_tokens(Kubectl(), "--all-namespaces")
    (output,) = [word for word in stand_in.calls[0].words if word.startswith("--output")]
    assert output.startswith("--output=go-template=")
    assert "data" not in output.replace("metadata", "")
    assert "last-applied" not in output
    assert all(key in output for key in KEYS)


@pytest.mark.parametrize(
    ("values", "grant_type", "login"),
    [
        (READY, "refresh_token", None),
        (ROBOT | {annotations.LOGIN: "mail"}, "client_credentials", None),
        (DERIVED, "token-exchange", REF),
    ],
)
def test_a_token_tells_how_it_is_renewed(
    stand_in: StandIn, values: dict[str, str], grant_type: str, login: SourceRef | None
) -> None:
    stand_in.answer("secrets", stdout=secret("team-a", "mail-api", values))
    token = read_token(Kubectl(), SourceRef("team-a", "mail-api"))
    assert (token.grant_type, token.login) == (grant_type, login)
    assert token.needs_login == (grant_type == "refresh_token")


def test_a_secret_that_is_no_token_is_not_found(stand_in: StandIn) -> None:
    stand_in.answer("secrets", stdout=secret("team-a", "mail", {}))
    with pytest.raises(NotFound, match="team-a/mail is not a token: it has no annotation"):
        read_token(Kubectl(), REF)


def test_a_name_cannot_be_an_option_of_kubectl(stand_in: StandIn) -> None:
    with pytest.raises(NotFound, match="cannot be the name of a Secret"):
        read_token(Kubectl(), SourceRef("team-a", "--raw=/api"))
    assert stand_in.calls == []


def test_a_watch_of_one_token_begins_where_its_list_ends(stand_in: StandIn) -> None:
    stand_in.answer("--watch", stdout=secret("team-a", "mail", event="ADDED"))
    assert len(list(watch_tokens(Kubectl(), "-A", name="mail"))) == 1
    (call,) = stand_in.calls
    assert call.words[:4] == ["--v=0", "get", "secrets", "--field-selector=metadata.name=mail"]


def test_a_hostile_annotation_is_cut_and_no_calendar_needs_to_have_its_instant(
    stand_in: StandIn,
) -> None:
    instant = {annotations.EXPIRES_AT: "9999-12-31T23:59:59-23:59"}
    values = {**READY, **instant, annotations.MESSAGE: "x" * 5000}
    stand_in.answer("secrets", stdout=secret("team-a", "mail", values))
    token = read_token(Kubectl(), REF)
    assert token.instant(annotations.EXPIRES_AT) is None
    assert len(token.message) == annotations.LIMITS[annotations.MESSAGE]


@pytest.mark.parametrize("watch", [watch_tokens, watch_pod_volumes])
def test_kubectl_ends_at_once_when_its_watch_cannot_be_read(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    watch: Callable[[Kubectl], Iterator[object]],
) -> None:
    program = tmp_path / "kubectl"
    program.write_text("#!/bin/sh\necho junk\nexec sleep 600\n")
    program.chmod(0o755)
    monkeypatch.setenv("KUBECTL", str(program))
    kubectl = Kubectl()
    # While the error, and so its frames, are still there.
    with pytest.raises(KubectlFailed) as caught:
        next(watch(kubectl))
    assert not kubectl._running, caught
