"""The README, then the tutorial, typed as they are on a cluster that has the image."""

import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster, until
from tests.e2e.installation import leftovers
from tests.e2e.user_namespace import UserNamespace
from tests.page_commands import Reader, commands
from tests.tutorial import PAGE, SECRET, type_command
from tools.image import CLONE
from tools.programs import program

EOS = "oauth2:{}:auth.cern.ch/auth/realms/cern/protocol/openid-connect/userinfo"


@pytest.fixture(scope="module")
def typed(e2e: Cluster) -> dict[str, str]:
    """What the README's kubectl commands have printed; the image is there already."""
    reader = Reader(e2e.admin.kubeconfig, program("kubectl").parent)
    lines = [command.line for command in commands("README.md", "On a cluster")]
    return {line: reader.run(line) for line in lines if line.startswith("kubectl ")}


@pytest.fixture(scope="module")
def readme(e2e: Cluster, typed: dict[str, str]) -> UserNamespace:
    """The namespace `default` after the README's commands, with the announcement's own pods."""
    assert typed
    e2e.roll_out("deployment/oauth2-csi-webhook")
    user = UserNamespace(e2e, "default")
    user.kubectl("apply", f"--filename={CLONE / 'examples/announcement'}")
    return user


def test_the_examples_run(readme: UserNamespace, typed: dict[str, str]) -> None:
    for deployment in ("token-printer", "token-printer-eos"):
        readme.kubectl("rollout", "status", f"deployment/{deployment}", "--timeout=150s")
    _, _, token, secret = typed.values()
    assert token.count(".") == 2, "a JWT"
    assert "oauth2.csi.cern.ch/status: Ready" in secret


def test_announced_pods_find_tokens_and_a_refresh_reaches_each_mount_in_the_same_file(
    readme: UserNamespace,
) -> None:
    places = {
        "token-printer-pod": ("/tmp/oauthtk_0", "{}"),
        "token-printer-eos-pod": ("/tmp/oauthtk_0", EOS),
        "token-volume-pod": ("/token/token", "{}"),
    }
    for pod in places:
        readme.wait_until_running(pod)
    before = {
        pod: readme.wait_for_content(pod, path, SECRET, text)
        for pod, (path, text) in places.items()
    }
    by_owner, by_group = ("-r--------", "0:0"), ("-r--r-----", "0:2000")
    assert [(found.mode, found.owner) for found in before.values()] == [
        by_owner,
        by_owner,
        by_group,
    ]
    environment = readme.execute("token-printer-eos-pod", "env")
    assert "OAUTH2_TOKEN=FILE:/tmp/oauthtk_0" in environment.splitlines()
    readme.wait_for_next_token(SECRET)
    for pod, (path, text) in places.items():
        after = readme.wait_for_content(pod, path, SECRET, text)
        assert after.content != before[pod].content
        assert after.inode == before[pod].inode


@pytest.fixture
def learner(e2e: Cluster, readme: UserNamespace, tmp_path: Path) -> Iterator[Reader]:
    """Somebody who follows the tutorial after the README, with a kubeconfig of his own."""
    assert readme.name == "default"
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_bytes(e2e.admin.kubeconfig.read_bytes())
    yield Reader(kubeconfig, program("kubectl").parent)
    e2e.kubectl("delete", "namespace", "tutorial", "--ignore-not-found", "--timeout=120s")


def test_the_tutorial_leads_to_a_token_breaks_it_and_mends_it(learner: Reader) -> None:
    printed: dict[str, list[str]] = defaultdict(list)
    with ExitStack() as terminals:
        for command in commands(PAGE):
            if "port-forward" in command.line:
                server = terminals.enter_context(learner.started(command.line))
                assert server.stdout is not None
                assert "Forwarding" in server.stdout.readline()
            else:
                printed[command.line].append(type_command(learner, command))
    (token,) = printed["kubectl exec token-volume-pod -- cat /token/token; echo"]
    assert token.count(".") == 2, "a JWT"
    ends = printed["kubectl exec token-volume-pod -- tail -c 12 /token/token; echo"]
    assert len(set(ends)) == len(ends) == 3
    assert all(re.fullmatch(r"[\w-]{12}\n", end) for end in ends), "the ends of signatures"


def test_removed_in_the_documented_order_it_leaves_nothing(
    e2e: Cluster, readme: UserNamespace
) -> None:
    def delete(*names: str) -> None:
        files = (f"--filename={CLONE / name}" for name in names)
        e2e.kubectl("delete", "--ignore-not-found", "--timeout=150s", *files)

    delete("examples/", "examples/announcement")
    until("the examples' pods are gone", lambda: readme.get("pods")["items"] == [])
    e2e.kubectl("apply", f"--filename={CLONE / 'deploy/cleanup.yaml'}")
    e2e.roll_out("daemonset/oauth2-csi-node")
    delete("deploy/demo-issuer.yaml", "deploy/install.yaml")
    assert leftovers(e2e) == []
