"""`kubectl oauth2-csi` on a real API server, and its manners beside those of kubectl."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from csidriver.core import annotations
from csidriver.kubectl.client import Kubectl
from csidriver.kubectl.errors import AlreadyExists, Conflict, Forbidden, KubectlFailed, NotFound
from csidriver.kubectl.main import main
from tests.cluster.controlplane import ControlPlane
from tests.kubectl.printed import READY, WAITING
from tools.plugin import write
from tools.programs import program

pytestmark = pytest.mark.tools("etcd", "kube-apiserver", "kubectl")

TEAM, EMPTY = "command-line", "command-line-empty"
NEEDLE = "needle-in-a-secret-4711"
HERE = f"--namespace={TEAM}"


def secret(name: str, values: dict[str, str] | None) -> dict[str, Any]:
    metadata = {"name": name, "namespace": TEAM, "annotations": values}
    document = json.dumps({"refresh_token": NEEDLE})
    body = {"metadata": metadata, "stringData": {"oauth": document, "clientID": "c"}}
    return {"apiVersion": "v1", "kind": "Secret", **body}


@pytest.fixture(scope="module")
def team(control_plane: ControlPlane) -> Iterator[ControlPlane]:
    """A namespace with tokens, and one without."""
    hostile = {**READY, annotations.MESSAGE: 'two\nlines "quoted" \t\\ \x1b]0; 票 {{.data}}'}
    sources = {"hello": READY, "mail-api": WAITING, "hostile": hostile, "unrelated": None}
    for namespace in (TEAM, EMPTY):
        control_plane.kubectl("create", "namespace", namespace)
    for name, values in sources.items():
        # As a user does it, whose seed is then in an annotation, too.
        applied = json.dumps(secret(name, values))
        control_plane.kubectl("apply", "--filename=-", stdin=applied)
    yield control_plane
    for namespace in (TEAM, EMPTY):
        control_plane.kubectl("delete", "namespace", namespace, "--wait=false")


@pytest.fixture
def kubectl(team: ControlPlane, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Kubectl:
    monkeypatch.setenv("KUBECTL", str(program("kubectl")))
    monkeypatch.setenv("KUBECACHEDIR", str(tmp_path))
    monkeypatch.setenv("KUBECONFIG", str(team.kubeconfig))
    return Kubectl()


def run(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    assert main(words) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert NEEDLE not in printed.out
    return printed.out.splitlines()


@pytest.mark.parametrize("form", [[], ["--no-headers"], ["-o", "name"], ["-o", "yaml"]])
@pytest.mark.usefixtures("kubectl")
def test_lists_are_printed_as_by_kubectl(
    team: ControlPlane, capsys: pytest.CaptureFixture[str], form: Sequence[str]
) -> None:
    """An empty one whole; of another one the frame or the width of the first column."""
    theirs = team.try_kubectl("get", "leases", "-n", EMPTY, *form)
    assert main(["status", "-n", EMPTY, *form]) == theirs.returncode
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == (theirs.stdout, theirs.stderr)
    lists = (
        team.kubectl("get", "secrets", HERE, *form).splitlines(),
        run(capsys, "status", HERE, *form),
    )
    if form == ["-o", "yaml"]:
        frame = re.compile(r"apiVersion|items|kind|metadata|  resourceVersion")
        of_theirs, of_ours = ([line for line in lines if frame.match(line)] for lines in lists)
        assert of_theirs == of_ours
    elif form == ["-o", "name"]:
        assert set(lists[1]) < set(lists[0])
    else:
        for lines in lists:
            longest = max(len(line.split()[0]) for line in lines)
            assert {len(re.findall("^[^ ]+ *", line)[0]) for line in lines} == {longest + 3}


def test_errors_of_the_server_are_told_apart(kubectl: Kubectl) -> None:
    manifest = secret("hello", READY)
    with pytest.raises(AlreadyExists, match='secrets "hello" already exists'):
        kubectl.create(manifest)
    with pytest.raises(NotFound, match='configmaps "absent" not found'):
        kubectl.get("configmap", "absent", HERE)
    stale = {"metadata": {"resourceVersion": "1", "annotations": {"a": "b"}}}
    with pytest.raises(Conflict, match="run the command again"):
        kubectl.patch("secret", "hello", TEAM, stale)
    broken = {"stringData": {"oauth": NEEDLE}, "metadata": {"labels": {"a": NEEDLE + "!"}}}
    with pytest.raises(KubectlFailed) as caught:
        kubectl.patch("secret", "hello", TEAM, broken)
    assert NEEDLE not in str(caught.value)
    anonymous = Kubectl(["--as=nobody"])
    with pytest.raises(Forbidden, match='User "nobody" cannot list resource "pods"'):
        anonymous.get("pods", HERE)
    assert kubectl.can_i("create", "secrets", TEAM)
    assert not anonymous.can_i("create", "secrets", TEAM)
    with pytest.raises(KubectlFailed, match=r"refused|connect"):
        Kubectl(["--server=https://127.0.0.1:1"]).can_i("create", "secrets", TEAM)
    with pytest.raises(KubectlFailed, match="cannot locate context typo"):
        Kubectl(["--context=typo"]).namespace()


@pytest.fixture(scope="module")
def plugin_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The PATH of a user who has the files that `make plugin` writes."""
    folder = tmp_path_factory.mktemp("plugin")
    write(folder, {}, "")
    # First a python3 that is new enough, then the shell.
    return os.pathsep.join([str(folder), str(Path(sys.executable).parent), os.defpath])


@pytest.mark.parametrize(
    ("words", "first"),
    [
        (["oauth2-csi", "status", "hello", "-n", TEAM, "--no-headers", "-o", "name"], "secret/"),
        (["__complete", "oauth2-csi", "-n", TEAM, "describe", "hell"], ""),
    ],
    ids=["subcommand", "completion"],
)
def test_kubectl_takes_the_files_for_its_own(
    team: ControlPlane, plugin_path: str, tmp_path: Path, words: Sequence[str], first: str
) -> None:
    environment = {
        "PATH": plugin_path,
        "KUBECONFIG": str(team.kubeconfig),
        "KUBECTL": str(program("kubectl")),
        "KUBECACHEDIR": str(tmp_path),
    }
    done = subprocess.run(  # noqa: S603 - the programs of this project
        [program("kubectl"), *words],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines()[0] == f"{first}hello"
