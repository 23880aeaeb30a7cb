"""`doctor` with programs and servers that are real, but for kubectl's."""

import json
from pathlib import Path

import pytest

from csidriver.core.names import PUBLIC_ISSUERS
from csidriver.kubectl.doctor import doctor_command
from csidriver.kubectl.main import main
from tests.adapters.oauth.peer import free_port
from tests.kubectl.doctor import healthy as objects
from tests.kubectl.doctor.healthy import (
    ABSENT,
    FORBIDDEN,
    HttpsIssuer,
    answer_reads,
    issuer_entry,
    published,
)
from tests.kubectl.golden_files import assert_golden
from tests.kubectl.printed import EXPIRING, NEEDS_REAUTH, NOW, Capture, secret
from tests.kubectl.stand_in import StandIn
from tests.refresher.bench import until

TEMPLATE = "--output=go-template="


def doctor(server: HttpsIssuer, *words: str) -> int:
    return main(["doctor", "--ca-file", str(server.ca_file), *words])


def break_some(cluster: StandIn, server: HttpsIssuer) -> None:
    """Break what a golden file shows."""
    slow = f"Date: {objects.date(NOW - 130)}\r\n"
    server.answer(headers=slow, device_authorization_endpoint=None)
    cluster.answer("daemonset", stdout=objects.daemon_set(ready=2))
    cluster.answer("lease", stdout=objects.lease(NOW - 400))
    cluster.answer(objects.WEBHOOK_CONFIGURATION, stderr=FORBIDDEN, status=1)
    cluster.answer("rolebindings", stdout={"items": [objects.NODE_BINDING]})
    lines = secret("team-a", "hello-token") + secret("team-a", "mail", NEEDS_REAUTH)
    answer_reads(cluster, "secrets", stdout=lines + secret("team-a", "storage", EXPIRING))
    cluster.answer("can-i", "create", stdout="no\n", status=1)


@pytest.mark.parametrize("name", ["doctor-healthy", "doctor"])
def test_doctor_prints_what_the_golden_file_has(
    healthy: StandIn, server: HttpsIssuer, capsys: Capture, name: str
) -> None:
    if name == "doctor":
        break_some(healthy, server)
    assert doctor(server) == (1 if name == "doctor" else 0)
    printed = capsys.readouterr()
    assert_golden(f"{name}.txt", printed.out.replace(server.address, "auth.example"))
    assert printed.err == (
        "error: 3 problems, 4 warnings\n" if name == "doctor" else "0 problems, 0 warnings\n"
    )


def test_json_has_the_same_findings(healthy: StandIn, server: HttpsIssuer, capsys: Capture) -> None:
    break_some(healthy, server)
    assert doctor(server, "-o", "json") == 1
    text = capsys.readouterr().out.replace(server.address, "auth.example")
    assert_golden("doctor.json", text)


def test_nothing_is_presented_to_the_issuer(
    healthy: StandIn, server: HttpsIssuer, capsys: Capture
) -> None:
    assert doctor(server) == 0
    assert capsys.readouterr().out
    assert {request.split("\r\n")[0] for request in server.requests} == {
        "GET /.well-known/openid-configuration HTTP/1.1"
    }
    assert "authorization" not in server.headers()
    harmless = ({"can-i", "--dry-run=server"} & {*call.words} for call in healthy.calls)
    others = [call for call, found in zip(healthy.calls, harmless, strict=True) if not found]
    assert not any({"apply", "create", "patch", "delete"} & {*call.words} for call in others)
    assert [call for call in others if call.body] == []


def test_rights_that_are_missing_are_findings(
    healthy: StandIn, server: HttpsIssuer, capsys: Capture
) -> None:
    answer_reads(healthy, stderr=FORBIDDEN, status=1)
    healthy.answer(PUBLIC_ISSUERS, stdout=published(issuer_entry(server.url)))
    assert doctor(server) == 0
    out = capsys.readouterr().out
    # The driver's objects, the broker's and the webhook's, events of pods, kubelets and Secrets.
    assert out.count("you may not see ") == 11
    assert "ask an administrator of the cluster to run: kubectl oauth2-csi doctor" in out


def test_published_issuers_that_may_not_be_seen_are_elsewhere(
    healthy: StandIn, server: HttpsIssuer, capsys: Capture
) -> None:
    healthy.answer(PUBLIC_ISSUERS, stderr=FORBIDDEN, status=1)
    assert doctor(server, "-o", "json", "--driver-namespace", "elsewhere") == 1
    text = "you may not see elsewhere/oauth2-csi-issuers-public, which every user may see where"
    assert problems(capsys)["issuers"].startswith(text)


def test_every_absent_object_is_a_problem(
    healthy: StandIn, server: HttpsIssuer, capsys: Capture
) -> None:
    for kind in ("configmap", "csidriver", "deployment", "daemonset", "lease"):
        healthy.answer(kind, stderr=ABSENT, status=1)
    assert doctor(server, "-o", "json") == 1
    driver = ("issuers", "CSIDriver", "refresher", "lease", "nodes", "broker", "broker CA")
    assert tuple(problems(capsys)) == (*driver, "webhook pods")


def problems(capsys: Capture) -> dict[str, str]:
    findings = json.loads(capsys.readouterr().out)["findings"]
    return {each["check"]: each["message"] for each in findings if each["level"] == "problem"}


def test_a_cluster_out_of_reach_is_the_only_finding_of_the_cluster(
    healthy: StandIn, server: HttpsIssuer, capsys: Capture
) -> None:
    answer_reads(healthy, stderr="Unable to connect to the server: EOF\n", status=1)
    assert doctor(server, "-o", "json", "--issuer-url", server.url) == 1
    text = "the cluster does not answer: Unable to connect to the server: EOF"
    assert problems(capsys) == {"cluster": text}
    assert len([call for call in healthy.calls if "get" in call.words]) == 1
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ({"metadata": {}}, "no refresher has written it"),
        (published(), "no issuer is configured"),
        ({"data": {"issuers.json": "{"}}, "issuers.json is not JSON"),
    ],
)
def test_published_issuers_of_no_use_are_a_problem(
    healthy: StandIn, server: HttpsIssuer, capsys: Capture, document: object, text: str
) -> None:
    healthy.answer(PUBLIC_ISSUERS, stdout=document)
    assert doctor(server, "-o", "json") == 1
    assert text in problems(capsys)["issuers"]


def test_an_issuer_is_chosen_by_name(
    healthy: StandIn, server: HttpsIssuer, capsys: Capture
) -> None:
    other = issuer_entry(f"https://127.0.0.1:{free_port()}", name="other", default=False)
    healthy.answer(PUBLIC_ISSUERS, stdout=published(issuer_entry(server.url), other))
    assert doctor(server, "other") == 1
    out = capsys.readouterr().out
    assert "cannot be reached, or does not answer" in out
    assert "Issuer cern" not in out
    assert doctor(server, "third", "-o", "json") == 1
    assert problems(capsys) == {"issuer": "issuer 'third' is not known; choose one of: cern, other"}


def test_without_a_name_issuers_of_other_namespaces_are_left_out(
    healthy: StandIn, server: HttpsIssuer, capsys: Capture
) -> None:
    entry = issuer_entry(server.url, namespaces=["team-b"])
    healthy.answer(PUBLIC_ISSUERS, stdout=published(entry))
    assert doctor(server) == 0
    assert "Issuer cern" not in capsys.readouterr().out
    assert doctor(server, "cern") == 0
    out = capsys.readouterr().out
    assert "the issuer is not open to namespace team-a" in out
    assert "open are: team-b" in out


def test_tokens_of_all_namespaces_are_counted_when_asked_for(
    healthy: StandIn, server: HttpsIssuer, capsys: Capture
) -> None:
    assert doctor(server, "-A") == 0
    assert "Tokens in all namespaces:" in capsys.readouterr().out
    reads = [call.words[2:5] for call in healthy.calls if call.words[-1].startswith(TEMPLATE)]
    assert reads == [["get", "secrets", "--all-namespaces"]]


def test_a_program_that_hangs_does_not_hold_the_others_and_is_ended(
    healthy: StandIn, server: HttpsIssuer, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_command, "CHECK_SECONDS", 5.0)
    first, _, rest = healthy.path.read_text().partition("\n")
    hang = (
        "import os, pathlib, signal, sys",
        "if 'daemonset' in sys.argv:",
        "    pathlib.Path(__file__).with_name('pid').write_text(str(os.getpid()))",
        "    signal.pause()",
    )
    healthy.path.write_text("\n".join([first, *hang, rest]))
    assert doctor(server, "-o", "json") == 1
    assert problems(capsys) == {
        "nodes": "the DaemonSet of the nodes: there was no answer within 5 s"
    }
    pid = int(healthy.path.with_name("pid").read_text())
    until(lambda: not Path(f"/proc/{pid}").exists(), "the program has ended")
