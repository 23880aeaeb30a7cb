import json
from pathlib import Path

import pytest

from csidriver.kubectl import client
from csidriver.kubectl.client import Kubectl
from csidriver.kubectl.errors import KubectlFailed
from tests.kubectl.stand_in import StandIn

OPTIONS = ("--context=here", "--as=alice")
NEEDLE = "needle-4711-refresh-token"
SECRET = {
    "kind": "Secret",
    "metadata": {"name": "hello-token", "namespace": "team-a"},
    "stringData": {"oauth": json.dumps({"refresh_token": NEEDLE})},
}


def test_get_returns_json_and_passes_the_options_of_kubectl(stand_in: StandIn) -> None:
    stand_in.answer("get", stdout={"items": []})
    assert Kubectl(OPTIONS).get("pods", "--all-namespaces") == {"items": []}
    words = ["--v=0", *OPTIONS, "get", "pods", "--all-namespaces", "--output=json"]
    assert stand_in.calls[0].words == words


def test_a_body_goes_through_standard_input_only(stand_in: StandIn) -> None:
    stand_in.answer("create", stdout="secret/hello-token\n")
    stand_in.answer("patch", stdout="secret/hello-token\n")
    kubectl = Kubectl(OPTIONS)
    kubectl.create(SECRET)
    kubectl.try_create(SECRET)
    kubectl.patch("secret", "hello-token", "team-a", {"stringData": SECRET["stringData"]})
    created, tried, patched = stand_in.calls
    assert json.loads(created.body) == json.loads(tried.body) == SECRET
    assert NEEDLE in patched.body
    assert NEEDLE not in " ".join(created.words + tried.words + patched.words)
    assert "--namespace=team-a" in created.words
    assert tried.words == [*created.words[:-2], "--dry-run=server", *created.words[-2:]]
    assert "--type=merge" in patched.words
    # Without it kubectl would print the object.
    assert "--output=name" in created.words
    assert "--output=name" in patched.words
    refusal = f'Error from server (Invalid): stringData: Invalid value: "{NEEDLE}"\n'
    stand_in.answer("create", stderr=refusal, status=1)
    with pytest.raises(KubectlFailed, match=r"^refused \(Invalid\); its message is not shown"):
        kubectl.create(SECRET)


def test_rights_are_asked_for(stand_in: StandIn) -> None:
    stand_in.answer("can-i", "create", stdout="yes\n")
    stand_in.answer("can-i", "delete", stdout="no - RBAC\n", status=1)
    stand_in.answer("can-i", "get", stderr="Unable to connect to the server: EOF\n", status=1)
    kubectl = Kubectl()
    assert kubectl.can_i("create", "secrets", "team-a")
    where = ["auth", "can-i", "create", "secrets", "--namespace=team-a"]
    assert stand_in.calls[0].words == ["--v=0", *where]
    assert not kubectl.can_i("delete", "secrets", "team-a")
    with pytest.raises(KubectlFailed, match="Unable to connect"):
        kubectl.can_i("get", "secrets", "")


def test_a_time_limit_gives_way_to_that_of_the_user(stand_in: StandIn) -> None:
    stand_in.answer("whoami", stdout="ann\n")
    limited = Kubectl(["--namespace=a"]).with_timeout(10.0)
    assert limited.namespace() == "a"
    assert limited.user() == "ann"
    assert stand_in.calls[0].words[1:3] == ["--request-timeout=10s", "--namespace=a"]
    # kubectl takes the last.
    Kubectl(["--request-timeout=3s"]).with_timeout(10.0).user()
    assert stand_in.calls[1].words[1:3] == ["--request-timeout=10s", "--request-timeout=3s"]


def test_the_namespace_is_that_of_the_context_or_of_the_pod(
    stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "namespace"
    monkeypatch.setattr(client, "_SERVICE_ACCOUNT", file)
    kubectl = Kubectl()
    assert kubectl.namespace() == kubectl.namespace() == "team-a"
    assert len(stand_in.calls) == 1
    stand_in.answer("config", stdout="")
    assert Kubectl().namespace() == "default"
    stand_in.answer(stderr="error: current-context must exist in order to minify\n", status=1)
    assert Kubectl().namespace() == "default"
    file.write_text("team-c\n")
    assert Kubectl().namespace() == "team-c"


def test_a_context_that_does_not_exist_is_a_failure(stand_in: StandIn) -> None:
    stand_in.answer(stderr='error: context "typo" does not exist\n', status=1)
    with pytest.raises(KubectlFailed, match=r'^context "typo" does not exist$'):
        Kubectl(["--context=typo"]).namespace()
