import json
from pathlib import Path

import pytest

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


def test_an_error_does_not_quote_the_body(stand_in: StandIn) -> None:
    refusal = f'Error from server (Invalid): stringData: Invalid value: "{NEEDLE}"\n'
    stand_in.answer(stderr=refusal, status=1)
    with pytest.raises(KubectlFailed) as caught:
        Kubectl(OPTIONS).create(SECRET)
    assert "needle" not in str(caught.value)
    assert "Invalid" in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "status", "allowed"), [("yes", 0, True), ("no - RBAC", 1, False)]
)
def test_rights_are_asked_for(
    stand_in: StandIn, answer: str, status: int, *, allowed: bool
) -> None:
    stand_in.answer("can-i", stdout=f"{answer}\n", status=status)
    assert Kubectl().can_i("create", "secrets", "team-a") is allowed
    where = ["auth", "can-i", "create", "secrets", "--namespace=team-a"]
    assert stand_in.calls[0].words == ["--v=0", *where]


def test_rights_that_cannot_be_asked_for_are_a_failure(stand_in: StandIn) -> None:
    stand_in.answer("can-i", stderr="Unable to connect to the server: EOF\n", status=1)
    with pytest.raises(KubectlFailed, match="Unable to connect"):
        Kubectl().can_i("create", "secrets", "")


def test_a_time_limit_gives_way_to_that_of_the_user(stand_in: StandIn) -> None:
    stand_in.answer("whoami", stdout="ann\n")
    limited = Kubectl(["--namespace=a"]).with_timeout(10.0)
    assert limited.namespace() == "a"
    assert limited.user() == "ann"
    assert stand_in.calls[0].words[1:3] == ["--request-timeout=10s", "--namespace=a"]
    # kubectl takes the last.
    Kubectl(["--request-timeout=3s"]).with_timeout(10.0).user()
    assert stand_in.calls[1].words[1:3] == ["--request-timeout=10s", "--request-timeout=3s"]


@pytest.mark.parametrize(("text", "namespace"), [("team-b", "team-b"), ("", "default")])
def test_the_context_has_a_namespace(stand_in: StandIn, text: str, namespace: str) -> None:
    stand_in.answer("config", stdout=text)
    kubectl = Kubectl()
    assert kubectl.namespace() == kubectl.namespace() == namespace
    assert len(stand_in.calls) == 1


@pytest.mark.parametrize(("content", "namespace"), [("team-c\n", "team-c"), (None, "default")])
def test_a_pod_without_kubeconfig_is_in_its_own_namespace(
    stand_in: StandIn, tmp_path: Path, content: str | None, namespace: str
) -> None:
    stand_in.answer(stderr="error: current-context must exist in order to minify\n", status=1)
    if content is not None:
        (tmp_path / "namespace").write_text(content)
    kubectl = Kubectl(service_account=tmp_path / "namespace")
    assert kubectl.namespace() == namespace


def test_a_context_that_does_not_exist_is_a_failure(stand_in: StandIn) -> None:
    stand_in.answer(stderr='error: context "typo" does not exist\n', status=1)
    with pytest.raises(KubectlFailed, match=r'^context "typo" does not exist$'):
        Kubectl(["--context=typo"]).namespace()
