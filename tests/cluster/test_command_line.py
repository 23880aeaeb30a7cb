"""`kubectl oauth2-csi` on a real API server, and its manners beside those of kubectl."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from csidriver.core import annotations
from csidriver.core.kubernetes.timestamp import format_rfc3339
from csidriver.core.names import DRIVER_NAME
from csidriver.kubectl.client import Kubectl
from csidriver.kubectl.errors import AlreadyExists, Conflict, Forbidden, KubectlFailed, NotFound
from csidriver.kubectl.main import build_parser, load_commands, main
from csidriver.kubectl.terminal import Terminal
from tests.cluster.controlplane import ControlPlane
from tests.kubectl.printed import EXPIRING, NEEDS_REAUTH, READY, WAITING
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


def pod(name: str, token: str) -> dict[str, Any]:
    attributes = {"secretName": token, "owner": "1000", "fileName": "mail.token"}
    csi = {"driver": DRIVER_NAME, "readOnly": True, "volumeAttributes": attributes}
    mounts = [
        {"name": "token", "mountPath": "/run/token"},
        {"name": "token", "mountPath": "/etc/one", "subPath": "mail.token"},
    ]
    spec = {
        "nodeName": "node-1",
        "automountServiceAccountToken": False,
        "containers": [{"name": "main", "image": "none", "volumeMounts": mounts}],
        "volumes": [{"name": "scratch", "emptyDir": {}}, {"name": "token", "csi": csi}],
    }
    metadata = {"name": name, "namespace": TEAM}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


@pytest.fixture(scope="module")
def team(control_plane: ControlPlane) -> Iterator[ControlPlane]:
    """A namespace with tokens and pods, and one without."""
    hostile = {**READY, annotations.MESSAGE: 'two\nlines "quoted" \t\\ \x1b]0; 票 {{.data}}'}
    sources = {"hello": READY, "mail": NEEDS_REAUTH, "storage": EXPIRING, "hostile": hostile}
    sources["mail-api"] = WAITING
    items = [secret(name, values) for name, values in {**sources, "unrelated": None}.items()]
    for namespace in (TEAM, EMPTY):
        control_plane.kubectl("create", "namespace", namespace)
    control_plane.kubectl("create", "serviceaccount", "default", HERE)
    items += [pod("reader-1", "hello"), pod("reader-2", "hello"), pod("mailer", "mail")]
    for item in items:
        # As a user does it, whose seed is then in an annotation, too.
        control_plane.kubectl("apply", "--filename=-", stdin=json.dumps(item))
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


@pytest.mark.usefixtures("kubectl")
def test_status_shows_tokens_and_counts_their_pods(capsys: pytest.CaptureFixture[str]) -> None:
    headers, *rows = run(capsys, "status", "-n", TEAM)
    assert re.split(" {2,}", headers) == [
        *("NAME", "ISSUER", "GRANT", "STATUS", "EXPIRES", "REFRESH", "PODS", "MESSAGE"),
    ]
    cells = {row.split()[0]: re.split(" {2,}", row) for row in rows}
    assert {name: (row[3], row[6]) for name, row in cells.items()} == {
        "hello": ("Ready", "2"),
        "mail": ("NeedsReauth", "1"),
        "mail-api": ("WaitsForLogin", "0"),
        "storage": ("Ready", "0"),
        "hostile": ("Ready", "0"),
    }
    assert {cells[name][2] for name in ("hello", "hostile")} == {"refresh_token"}
    assert cells["mail-api"][2] == "token-exchange (mail)"
    assert cells["hostile"][7] == "two..."


@pytest.mark.usefixtures("kubectl")
def test_status_knows_every_namespace_and_form(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "status", "-A")[0].startswith("NAMESPACE ")
    objects = json.loads("\n".join(run(capsys, "status", "-o", "json", "-n", TEAM)))
    written = yaml.safe_load("\n".join(run(capsys, "status", "-o", "yaml", "-n", TEAM)))
    assert objects == written
    found = {item["metadata"]["name"]: item["status"] for item in objects["items"]}
    assert found["hello"]["pods"] == ["reader-1", "reader-2"]
    assert found["hostile"]["message"] == 'two\nlines "quoted" \t\\ \x1b]0; 票 {{.data}}'
    names = [f"secret/{name}" for name in ("hello", "hostile", "mail", "mail-api", "storage")]
    assert run(capsys, "status", "-o", "name", "-n", TEAM) == names


@pytest.mark.usefixtures("kubectl")
def test_describe_shows_pods_with_their_files(capsys: pytest.CaptureFixture[str]) -> None:
    lines = run(capsys, "describe", "mail", "-n", TEAM)
    (row,) = [line.split(maxsplit=3) for line in lines if line.startswith("  mailer ")]
    assert row == ["mailer", "Pending", "node-1", "/run/token/mail.token, /etc/one"]
    assert lines[-1] == f"Next step:  kubectl oauth2-csi login mail -n {TEAM}"
    derived = run(capsys, "describe", "mail-api", "-n", TEAM)
    assert derived[-1] == f"Next step:  kubectl oauth2-csi describe mail -n {TEAM}"


@pytest.mark.usefixtures("kubectl")
def test_a_refresh_is_requested(team: ControlPlane, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["refresh", "hello", "-n", TEAM]) == 0
    assert capsys.readouterr().out == "secret/hello refresh requested\n"
    stored = json.loads(team.kubectl("get", "secret", "hello", HERE, "--output=json"))
    assert stored["metadata"]["annotations"][annotations.REFRESH_REQUESTED_AT]


@pytest.mark.usefixtures("kubectl")
def test_a_watch_prints_the_row_that_changes(
    team: ControlPlane, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["status", "-n", TEAM, "-w", "storage"]
    lines: list[str] = []
    changed = threading.Event()

    class Watcher(Terminal):
        """Changes the token when its first row is there, and ends after the next."""

        def print(self, text: str = "") -> None:
            lines.append(text)
            if len(lines) == 2:
                mark = f"{annotations.STATUS}=IssuerUnavailable"
                team.kubectl("annotate", "secret", "storage", "--overwrite", mark, HERE)
            if len(lines) == 3:
                changed.set()
                raise KeyboardInterrupt

    args = build_parser(load_commands()).parse_args(words)
    watching = Kubectl([HERE])
    with pytest.raises(KeyboardInterrupt):
        args.run(args, watching, Watcher())
    watching.close()
    assert changed.is_set()
    assert [line.split()[0] for line in lines] == ["NAME", "storage", "storage"]
    assert "IssuerUnavailable" in lines[2]
    assert capsys.readouterr().out == ""


# The same cases with `kubectl get configmaps` and with us: what is printed where, and the status.
CASES = [
    pytest.param(["-n", EMPTY], id="an empty namespace"),
    pytest.param(["-n", EMPTY, "--no-headers"], id="an empty namespace without headers"),
    pytest.param(["-n", EMPTY, "-o", "name"], id="names of an empty namespace"),
    pytest.param(["-n", EMPTY, "-o", "json"], id="an empty list in JSON"),
    pytest.param(["-n", EMPTY, "-o", "yaml"], id="an empty list in YAML"),
    pytest.param(["-n", EMPTY, "-o", "wide"], id="an empty namespace, wide"),
]


@pytest.mark.parametrize("words", CASES)
@pytest.mark.usefixtures("kubectl")
def test_nothing_is_said_as_kubectl_says_it(
    team: ControlPlane, capsys: pytest.CaptureFixture[str], words: Sequence[str]
) -> None:
    theirs = team.try_kubectl("get", "leases", *words)
    assert main(["status", *words]) == theirs.returncode
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == (theirs.stdout, theirs.stderr)


@pytest.mark.parametrize("form", [[], ["--no-headers"], ["-o", "name"]])
@pytest.mark.usefixtures("kubectl")
def test_columns_stand_as_in_tables_of_kubectl(
    team: ControlPlane, capsys: pytest.CaptureFixture[str], form: Sequence[str]
) -> None:
    theirs = team.kubectl("get", "secrets", HERE, *form).splitlines()
    ours = run(capsys, "status", "-n", TEAM, *form)
    width = len(re.findall("^[^ ]+ *", theirs[-1])[0]) if form != ["-o", "name"] else 0
    longest = max(len(line.split()[0]) for line in theirs)
    longest_of_ours = max(len(line.split()[0]) for line in ours)
    if width:
        assert width == longest + 3
        assert {len(re.findall("^[^ ]+ *", line)[0]) for line in ours} == {longest_of_ours + 3}
    else:
        assert set(ours) < set(theirs)


@pytest.mark.usefixtures("kubectl")
def test_a_list_in_yaml_is_indented_as_by_kubectl(
    team: ControlPlane, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = team.kubectl("get", "secrets", HERE, "-o", "yaml").splitlines()
    ours = run(capsys, "status", "-n", TEAM, "-o", "yaml")
    frame = re.compile(r"(apiVersion|items|- apiVersion|kind|metadata|  resourceVersion|  kind)\b")
    kept = [[line for line in lines if frame.match(line)] for lines in (theirs, ours)]
    assert kept[1][:2] == kept[0][:2] == ["apiVersion: v1", "items:"]
    assert kept[1][-3:] == kept[0][-3:]


@pytest.mark.usefixtures("kubectl")
def test_an_absent_name_fails_as_with_kubectl(
    team: ControlPlane, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = team.try_kubectl("get", "secret", "absent", HERE)
    assert main(["status", "absent", "-n", TEAM]) == theirs.returncode == 1
    printed = capsys.readouterr()
    assert printed.out == theirs.stdout == ""
    assert printed.err.startswith(f"error: there is no Secret absent in namespace {TEAM}; ")


@pytest.mark.usefixtures("kubectl")
def test_events_stand_as_in_a_description_of_kubectl(
    team: ControlPlane, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind, name in (("Secret", "hello"), ("Pod", "mailer")):
        uid = json.loads(team.kubectl("get", kind, name, HERE, "-o", "json"))["metadata"]["uid"]
        involved = {"kind": kind, "name": name, "namespace": TEAM, "uid": uid, "apiVersion": "v1"}
        for number, hours in enumerate((5, 49)):
            event = {
                "metadata": {"name": f"{name}.{number}", "namespace": TEAM},
                "involvedObject": involved,
                "type": ("Normal", "Warning")[number],
                "reason": ("Ready", "NeedsReauth")[number],
                "message": "a message\n",
                "source": {"component": "oauth2-csi"},
                "firstTimestamp": format_rfc3339(time.time() - 3600 * hours - 600),
                "lastTimestamp": format_rfc3339(time.time() - 3600 * hours),
                "count": number + 1,
            }
            team.api("POST", f"/api/v1/namespaces/{TEAM}/events", event)
    theirs = team.kubectl("describe", "pod", "mailer", HERE).splitlines()
    ours = run(capsys, "describe", "hello", "-n", TEAM)
    events = ours[ours.index("Events:") : -1]
    assert len(events) == 5
    assert events == [line.rstrip() for line in theirs[theirs.index("Events:") :]]


def test_errors_of_the_server_are_told_apart(kubectl: Kubectl, team: ControlPlane) -> None:
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
    assert team.kubectl("get", "secret", "hello", HERE)


def test_objects_are_created_and_changed(kubectl: Kubectl, team: ControlPlane) -> None:
    kubectl.create(secret("created", None))
    kubectl.patch("secret", "created", TEAM, {"metadata": {"labels": {"a": "b"}}})
    kubectl.patch("secret", "created", TEAM, {"metadata": {"labels": None}})
    stored = json.loads(team.kubectl("get", "secret", "created", HERE, "--output=json"))
    assert set(stored["data"]) == {"oauth", "clientID"}
    assert "labels" not in stored["metadata"]
    assert "annotations" not in stored["metadata"]
    team.kubectl("delete", "secret", "created", HERE)


def test_objects_are_watched(kubectl: Kubectl) -> None:
    template = '{{.type}} {{.object.metadata.name}}{{"\\n"}}'
    lines = kubectl.watch_text("pods", "reader-1", HERE, f"--output=go-template={template}")
    assert next(lines) == "ADDED reader-1"
    kubectl.close()
    assert list(lines) == []


@pytest.mark.usefixtures("team")
def test_words_are_completed(kubectl: Kubectl, capsys: pytest.CaptureFixture[str]) -> None:
    assert kubectl.namespace() == "default"
    assert run(capsys, "__complete", "-n", TEAM, "describe", "h") == ["hello", "hostile", ":4"]


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


def test_a_pod_without_kubeconfig_has_no_context(
    kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
    (tmp_path / "namespace").write_text("of-a-pod")
    in_pod = Kubectl(service_account=tmp_path / "namespace")
    assert in_pod.namespace() == "of-a-pod"
    with pytest.raises(KubectlFailed, match="cannot locate context typo"):
        Kubectl(["--context=typo"]).namespace()
    del kubectl
