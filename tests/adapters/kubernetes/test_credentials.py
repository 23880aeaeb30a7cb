import json
from pathlib import Path

import pytest

from csidriver.adapters.kubernetes import from_kubeconfig, from_pod
from csidriver.core.sensitive import Sensitive
from csidriver.errors import InvalidSettings
from csidriver.listener import host_and_port
from tests.adapters.exposure import shown
from tests.adapters.kubernetes.requests import NEEDLE, config
from tests.adapters.kubernetes.scripted import Scripted


def test_a_new_token_is_read_at_once_after_a_refusal(api: Scripted, tmp_path: Path) -> None:
    for name, content in (("token", "old"), ("ca.crt", "unused")):
        (tmp_path / name).write_text(content, encoding="ascii")
    environment = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "1"}
    access = from_pod(environment, tmp_path)
    assert access.authorization() == Sensitive("bearer old")
    (tmp_path / "token").write_text("new", encoding="ascii")
    assert access.authorization() == Sensitive("bearer old"), "it is looked at once a minute"
    assert access.reload(Sensitive("bearer old"))
    assert access.authorization() == Sensitive("bearer new")
    assert access.reload(Sensitive("bearer old")), "somebody else has renewed it"
    assert not access.reload(Sensitive("bearer new"))
    (tmp_path / "token").unlink()
    assert not access.reload(Sensitive("bearer new"))
    assert api.asked == []


@pytest.mark.parametrize("host", ["10.0.0.1", "fd00::1"])
def test_a_pod_finds_the_api_server_by_an_address_of_either_family(
    host: str, tmp_path: Path
) -> None:
    for name in ("token", "ca.crt"):
        (tmp_path / name).write_text("x", encoding="ascii")
    environment = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": "443"}
    access = from_pod(environment, tmp_path)
    assert access.server == f"https://{host_and_port((host, 443))}"


def test_a_pod_without_service_account_is_told_all_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings) as caught:
        from_pod({"KUBERNETES_SERVICE_HOST": ""}, tmp_path)
    assert len(caught.value.problems) == 4


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "cannot be used"),
        (None, "not a file"),
    ],
)
def test_a_bad_kubeconfig_is_named_and_not_quoted(
    tmp_path: Path, content: str | None, problem: str
) -> None:
    path = tmp_path / "kubeconfig"
    if content is not None:
        path.write_text(content + f"# {NEEDLE}", encoding="ascii")
    with pytest.raises(InvalidSettings, match=problem) as caught:
        from_kubeconfig(path)
    assert str(path) in str(caught.value)
    assert NEEDLE not in shown(caught.value)


def test_a_kubeconfig_that_lets_anybody_listen_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="https"):
        from_kubeconfig(config(tmp_path, "http://api.example"))
    path = config(tmp_path, "https://api.example")
    loaded = json.loads(path.read_text())
    loaded["clusters"][0]["cluster"]["insecure-skip-tls-verify"] = True
    path.write_text(json.dumps(loaded))
    with pytest.raises(InvalidSettings, match="insecure"):
        from_kubeconfig(path)
