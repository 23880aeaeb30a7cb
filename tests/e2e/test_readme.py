"""The README, then the tutorial, typed as they are on a cluster that has the image."""

import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from tests.demo.browser import open_form
from tests.e2e.cluster import Cluster, until
from tests.e2e.installation import leftovers
from tests.e2e.user_namespace import UserNamespace
from tests.page_commands import Command, Reader, commands, differs
from tools.image import CLONE
from tools.programs import program

SECRET = "hello-token"
EOS = "oauth2:{}:auth.cern.ch/auth/realms/cern/protocol/openid-connect/userinfo"


@pytest.fixture(scope="module")
def typed(e2e: Cluster) -> dict[str, str]:
    """What the README's kubectl commands have printed; the image is there already."""
    reader = Reader(e2e.admin.kubeconfig, program("kubectl").parent)
    lines = [command.line for command in commands("README.md", "On a cluster")]
    return {line: reader.run(line) for line in lines if line.startswith("kubectl ")}


@pytest.fixture(scope="module")
def readme(e2e: Cluster, typed: dict[str, str]) -> UserNamespace:
    """The namespace `default` after the README's commands."""
    assert typed
    return UserNamespace(e2e, "default")


@pytest.fixture(scope="module")
def announced(e2e: Cluster, readme: UserNamespace) -> UserNamespace:
    """The same with the announcement's own pods."""
    e2e.roll_out("deployment/oauth2-csi-webhook")
    readme.kubectl("apply", f"--filename={CLONE / 'examples/announcement'}")
    return readme


def test_the_examples_run(readme: UserNamespace, typed: dict[str, str]) -> None:
    for deployment in ("token-printer", "token-printer-eos"):
        readme.kubectl("rollout", "status", f"deployment/{deployment}", "--timeout=150s")
    _, _, token, secret = typed.values()
    assert token.count(".") == 2, "a JWT"
    assert "oauth2.csi.cern.ch/status: Ready" in secret


def test_the_announcements_pod_finds_its_token(announced: UserNamespace) -> None:
    announced.wait_until_running("token-printer-pod")
    found = announced.wait_for_content("token-printer-pod", "/tmp/oauthtk_0", SECRET)
    assert (found.mode, found.owner) == ("-r--------", "0:0")


def test_the_announcements_eos_pod_finds_the_template_filled_in(announced: UserNamespace) -> None:
    announced.wait_until_running("token-printer-eos-pod")
    found = announced.wait_for_content("token-printer-eos-pod", "/tmp/oauthtk_0", SECRET, EOS)
    assert (found.mode, found.owner) == ("-r--------", "0:0")
    environment = announced.execute("token-printer-eos-pod", "env")
    assert "OAUTH2_TOKEN=FILE:/tmp/oauthtk_0" in environment.splitlines()


def test_a_refresh_reaches_sub_path_and_directory_mounts_in_the_same_file(
    announced: UserNamespace,
) -> None:
    places = {
        "token-printer-pod": ("/tmp/oauthtk_0", "{}"),
        "token-printer-eos-pod": ("/tmp/oauthtk_0", EOS),
        "token-volume-pod": ("/token/token", "{}"),
    }
    for pod in places:
        announced.wait_until_running(pod)
    before = {pod: announced.file(pod, path) for pod, (path, _) in places.items()}
    announced.wait_for_next_token(SECRET)
    for pod, (path, text) in places.items():
        after = announced.wait_for_content(pod, path, SECRET, text)
        assert after.content != before[pod].content
        assert after.inode == before[pod].inode
        assert after.mtime != before[pod].mtime


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
        for command in commands("docs/tutorial.md"):
            line = command.line
            if "port-forward" in line:
                server = terminals.enter_context(learner.started(line))
                assert server.stdout is not None
                assert "Forwarding" in server.stdout.readline()
                continue
            if "oauth2-csi login" in line:
                output = learner.run_answering(line, allow)
            elif line.endswith(" -w"):
                output = learner.run_until(line, rotates)
            elif command.output:
                # A reader who is faster than the driver looks once more.
                output = until(line, partial(shown, learner, command))
            else:
                output = learner.run(line)
            assert differs(command.output, output) == "", output
            printed[line].append(output)
    tokens = printed["kubectl exec token-volume-pod -- cat /token/token"]
    assert len(set(tokens)) == len(tokens) == 3
    assert all(token.count(".") == 2 for token in tokens), "JWTs"


def allow(output: str) -> bool:
    """Press Allow on the page that a login names, once it has named one with its code."""
    found = re.search(r"http://\S+/device\?user_code=(\S+)", output)
    if found is None or output.count(found[1]) == 1:
        return False
    assert open_form(found[0]).press("allow").ok
    return True


def rotates(output: str) -> bool:
    """Return True for a table that shows three states of a token that is Ready."""
    return len(re.findall(rf"^{SECRET} .* Ready ", output, re.MULTILINE)) > 2


def shown(reader: Reader, command: Command) -> str:
    """Return the output of a command if it is what the page shows, else ""."""
    output = reader.run(command.line)
    return "" if differs(command.output, output) else output


def test_removed_in_the_documented_order_it_leaves_nothing(
    e2e: Cluster, announced: UserNamespace
) -> None:
    def delete(*names: str) -> None:
        files = (f"--filename={CLONE / name}" for name in names)
        e2e.kubectl("delete", "--ignore-not-found", "--timeout=150s", *files)

    delete("examples/", "examples/announcement")
    until("the examples' pods are gone", lambda: announced.get("pods")["items"] == [])
    e2e.kubectl("apply", f"--filename={CLONE / 'deploy/cleanup.yaml'}")
    e2e.roll_out("daemonset/oauth2-csi-node")
    delete("deploy/demo-issuer.yaml", "deploy/install.yaml")
    assert leftovers(e2e) == []
