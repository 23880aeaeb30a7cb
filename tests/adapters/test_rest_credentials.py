"""What a pod and a kubeconfig say about the API server."""

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml

from csidriver.adapters.rest import RestStore, in_cluster, kubeconfig
from csidriver.core.sensitive import Sensitive
from csidriver.errors import InvalidSettings
from tests.adapters.apiserver import ApiServer

NEEDLE = "needle-that-nobody-may-see"
POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}


@pytest.fixture
def account(tmp_path: Path) -> tuple[Path, Path]:
    files = tmp_path / "token", tmp_path / "ca.crt"
    for file in files:
        file.write_text("x", encoding="ascii")
    return files


@pytest.mark.parametrize(
    ("host", "server"),
    [("10.0.0.1", "https://10.0.0.1:443"), ("fd00::1", "https://[fd00::1]:443")],
)
def test_a_pod_knows_its_server(account: tuple[Path, Path], host: str, server: str) -> None:
    found = in_cluster({**POD, "KUBERNETES_SERVICE_HOST": host}, *account)
    assert (found.server, found.token_file, found.authorities) == (server, *account)


def test_outside_of_a_pod_all_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings) as caught:
        in_cluster({}, tmp_path / "token", tmp_path / "ca.crt")
    assert len(caught.value.problems) == 4


def test_an_odd_port_is_refused(account: tuple[Path, Path]) -> None:
    with pytest.raises(InvalidSettings):
        in_cluster({**POD, "KUBERNETES_SERVICE_PORT": "http"}, *account)


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def config(cluster: dict[str, Any] | None = None, user: dict[str, Any] | None = None) -> Any:
    server = {"server": "https://10.0.0.1:6443"}
    return {
        "current-context": "here",
        "contexts": [
            {"name": "there", "context": {"cluster": "x", "user": "x"}},
            {"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "n"}},
        ],
        "clusters": [{"name": "c", "cluster": server | (cluster or {})}],
        "users": [{"name": "u", "user": user or {}}],
    }


def written(folder: Path, document: Any) -> Path:
    path = folder / "config"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def test_a_kubeconfig_gives_inline_material(tmp_path: Path) -> None:
    user = {"client-certificate-data": encoded("cert"), "client-key-data": encoded(NEEDLE)}
    cluster = {"certificate-authority-data": encoded("ca"), "extensions": [{"name": "x"}]}
    found = kubeconfig(written(tmp_path, config(cluster, {**user, "token": NEEDLE})))
    assert found.server == "https://10.0.0.1:6443"
    assert found.authorities == Sensitive("ca")
    assert (found.certificate, found.key) == (Sensitive("cert"), Sensitive(NEEDLE))
    assert found.token == Sensitive(NEEDLE)
    assert NEEDLE not in repr(found)


def test_files_are_found_beside_the_kubeconfig(tmp_path: Path) -> None:
    user = {"client-certificate": "/pki/cert", "client-key": "key", "tokenFile": "token"}
    found = kubeconfig(written(tmp_path, config({"certificate-authority": "ca"}, user)))
    assert found.authorities == tmp_path / "ca"
    assert (found.certificate, found.key) == (Path("/pki/cert"), tmp_path / "key")
    assert found.token_file == tmp_path / "token"


@pytest.mark.parametrize(
    ("cluster", "user", "key"),
    [
        ({"insecure-skip-tls-verify": True}, {}, "insecure-skip-tls-verify"),
        ({"proxy-url": "http://p"}, {}, "proxy-url"),
        ({"tls-server-name": "x"}, {}, "tls-server-name"),
        ({"server": "http://10.0.0.1"}, {}, "server"),
        ({"server": ""}, {}, "server"),
        ({"server": "https://u:needle-that-nobody-may-see@h"}, {}, "server"),
        ({"server": ["x"]}, {}, "server"),
        ({"certificate-authority-data": "%"}, {}, "certificate-authority-data"),
        ({}, {"exec": {"command": NEEDLE}}, "exec"),
        ({}, {"username": "u", "password": NEEDLE}, "password"),
        ({}, {"client-certificate": "c"}, "client-key"),
    ],
)
def test_what_a_kubeconfig_may_not_say_is_named(
    tmp_path: Path, cluster: dict[str, Any], user: dict[str, Any], key: str
) -> None:
    with pytest.raises(InvalidSettings) as caught:
        kubeconfig(written(tmp_path, config(cluster, user)))
    assert any(key in problem for problem in caught.value.problems)
    assert NEEDLE not in str(caught.value)


@pytest.mark.parametrize("server", ["http://127.0.0.1:8001", "http://[::1]:1", "http://localhost"])
def test_plain_http_is_for_this_machine(tmp_path: Path, server: str) -> None:
    assert kubeconfig(written(tmp_path, config({"server": server}))).server == server


@pytest.mark.parametrize("missing", ["current-context", "contexts", "clusters", "users"])
def test_a_context_must_be_whole(tmp_path: Path, missing: str) -> None:
    document = config()
    del document[missing]
    with pytest.raises(InvalidSettings):
        kubeconfig(written(tmp_path, document))


@pytest.mark.parametrize("text", ["", "[]", f"a: {{ {NEEDLE}", "\0"])
def test_what_is_no_kubeconfig_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    with pytest.raises(InvalidSettings):
        kubeconfig(path)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidSettings) as caught:
        kubeconfig(path)
    assert caught.value.__context__ is None


def test_a_kubeconfig_opens_a_store_and_leaves_no_key_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drafts = tmp_path / "tmp"
    drafts.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(drafts))
    with ApiServer(tmp_path) as api:
        pem = encoded(api.pem.read_text(encoding="ascii"))
        user = {"client-certificate-data": pem, "client-key-data": pem}
        cluster = {"server": api.url, "certificate-authority-data": pem}
        store = RestStore(kubeconfig(written(tmp_path, config(cluster, user))))
        assert store.get_config_map("alice", "page") is None
        assert api.seen[0].peer
    assert list(drafts.iterdir()) == []
