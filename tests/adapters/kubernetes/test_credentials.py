import json
from pathlib import Path

import pytest

from csidriver.adapters.kubernetes import from_kubeconfig, from_pod
from csidriver.core.sensitive import Sensitive
from csidriver.errors import InvalidSettings
from tests.adapters.exposure import shown
from tests.adapters.kubernetes.requests import NEEDLE, config


def test_a_new_token_is_read_at_once_after_a_refusal(tmp_path: Path) -> None:
    for name, content in (("token", "old"), ("ca.crt", "unused")):
        (tmp_path / name).write_text(content, encoding="ascii")
    environment = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    access = from_pod(environment, tmp_path)
    assert access.server == "https://[fd00::1]:443"
    assert access.authorization() == Sensitive("bearer old")
    (tmp_path / "token").write_text("new", encoding="ascii")
    assert access.authorization() == Sensitive("bearer old"), "it is looked at once a minute"
    assert access.reload(Sensitive("bearer old"))
    assert access.authorization() == Sensitive("bearer new")
    assert access.reload(Sensitive("bearer old")), "somebody else has renewed it"
    assert not access.reload(Sensitive("bearer new"))
    (tmp_path / "token").unlink()
    assert not access.reload(Sensitive("bearer new"))


def test_a_pod_without_service_account_is_told_all_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings) as caught:
        from_pod({"KUBERNETES_SERVICE_HOST": ""}, tmp_path)
    assert len(caught.value.problems) == 4


def test_a_bad_kubeconfig_is_named_and_not_quoted(tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    with pytest.raises(InvalidSettings, match="not a file"):
        from_kubeconfig(path)
    path.write_text(f"{{# {NEEDLE}", encoding="ascii")
    with pytest.raises(InvalidSettings, match="cannot be used") as caught:
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
