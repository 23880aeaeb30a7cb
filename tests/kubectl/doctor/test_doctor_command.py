"""`doctor` with programs and servers that are real, but for kubectl's."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from tests.waiting import until


@dataclass
class Doctor:
    """The command in a cluster and at an issuer in which nothing is wrong at first."""

    cluster: StandIn
    server: HttpsIssuer
    capsys: Capture

    def run(self, *words: str, status: int = 0, error: str = "") -> str:
        """Return what it prints; with `error` see that its last line is that."""
        assert main(["doctor", "--ca-file", str(self.server.ca_file), *words]) == status
        printed = self.capsys.readouterr()
        assert printed.err == error or not error
        return printed.out.replace(self.server.address, "auth.example")

    def problems(self, *words: str) -> dict[str, str]:
        findings = json.loads(self.run("-o", "json", *words, status=1))["findings"]
        return {each["check"]: each["message"] for each in findings if each["level"] == "problem"}

    def publish(self, *entries: dict[str, Any]) -> None:
        self.cluster.answer(PUBLIC_ISSUERS, stdout=published(*entries))


@pytest.fixture
def doctor(healthy: StandIn, server: HttpsIssuer, capsys: Capture) -> Doctor:
    return Doctor(healthy, server, capsys)


def test_nothing_is_wrong_and_nothing_is_presented_to_the_issuer(doctor: Doctor) -> None:
    out = doctor.run(error="0 problems, 0 warnings\n")
    levels = [line.split()[0] for line in out.splitlines() if line.startswith("  ")]
    assert levels == ["ok"] * 19
    [request] = doctor.server.requests
    assert request.startswith("GET /.well-known/openid-configuration HTTP/1.1\r\n")
    assert "authorization" not in doctor.server.headers()
    harmless = {"can-i", "--dry-run=server"}
    others = [call for call in doctor.cluster.calls if not harmless & {*call.words}]
    assert not any({"apply", "create", "patch", "delete"} & {*call.words} for call in others)
    assert [call for call in others if call.body] == []


def test_what_is_wrong_is_in_the_golden_files(doctor: Doctor) -> None:
    slow = f"Date: {objects.date(NOW - 130)}\r\n"
    doctor.server.answer(headers=slow, device_authorization_endpoint=None)
    doctor.cluster.answer("daemonset", stdout=objects.daemon_set(ready=2))
    doctor.cluster.answer("lease", stdout=objects.lease(NOW - 400))
    doctor.cluster.answer(objects.WEBHOOK_CONFIGURATION, stderr=FORBIDDEN, status=1)
    doctor.cluster.answer("rolebindings", stdout={"items": [objects.NODE_BINDING]})
    lines = secret("team-a", "hello-token") + secret("team-a", "mail", NEEDS_REAUTH)
    answer_reads(doctor.cluster, "secrets", stdout=lines + secret("team-a", "storage", EXPIRING))
    doctor.cluster.answer("can-i", "create", stdout="no\n", status=1)
    text = doctor.run(status=1, error="error: 3 problems, 4 warnings\n")
    assert_golden("doctor.txt", text)
    document = json.loads(doctor.run("-o", "json", status=1))
    assert (document["apiVersion"], document["kind"]) == ("oauth2.csi.cern.ch/v1", "Diagnosis")
    assert [finding["message"] for finding in document["findings"] if "cure" not in finding] == []
    texts = [finding["cure"] or finding["message"] for finding in document["findings"]]
    assert [found for found in texts if found not in text] == []
    clock = {"section": "Issuer cern from this machine", "check": "clock", "level": "warning"}
    assert clock.items() <= document["findings"][6].items()


def test_rights_that_are_missing_are_findings(doctor: Doctor) -> None:
    answer_reads(doctor.cluster, stderr=FORBIDDEN, status=1)
    doctor.publish(issuer_entry(doctor.server.url))
    out = doctor.run()
    # The driver's objects, the broker's and the webhook's, events of pods, kubelets and Secrets.
    assert out.count("you may not see ") == 11
    assert "ask an administrator of the cluster to run: kubectl oauth2-csi doctor" in out


def test_published_issuers_that_may_not_be_seen_are_elsewhere(doctor: Doctor) -> None:
    doctor.cluster.answer(PUBLIC_ISSUERS, stderr=FORBIDDEN, status=1)
    text = "you may not see elsewhere/oauth2-csi-issuers-public, which every user may see where"
    assert doctor.problems("--driver-namespace", "elsewhere")["issuers"].startswith(text)


def test_every_absent_object_is_a_problem(doctor: Doctor) -> None:
    for kind in ("configmap", "csidriver", "deployment", "daemonset", "lease"):
        doctor.cluster.answer(kind, stderr=ABSENT, status=1)
    driver = ("issuers", "CSIDriver", "refresher", "lease", "nodes", "broker", "broker CA")
    assert tuple(doctor.problems()) == (*driver, "webhook pods")


def test_a_cluster_out_of_reach_is_the_only_finding_of_the_cluster(doctor: Doctor) -> None:
    answer_reads(doctor.cluster, stderr="Unable to connect to the server: EOF\n", status=1)
    text = "the cluster does not answer: Unable to connect to the server: EOF"
    assert doctor.problems("--issuer-url", doctor.server.url) == {"cluster": text}
    assert len([call for call in doctor.cluster.calls if "get" in call.words]) == 1
    assert len(doctor.server.requests) == 1


def test_published_issuers_of_no_use_are_a_problem(doctor: Doctor) -> None:
    doctor.cluster.answer(PUBLIC_ISSUERS, stdout={"data": {}})
    assert "no refresher has written it" in doctor.problems()["issuers"]
    doctor.publish()
    assert "no issuer is configured" in doctor.problems()["issuers"]


def test_an_issuer_is_chosen_by_name(doctor: Doctor) -> None:
    other = issuer_entry(f"https://127.0.0.1:{free_port()}", name="other", default=False)
    doctor.publish(issuer_entry(doctor.server.url), other)
    out = doctor.run("other", status=1)
    assert "cannot be reached, or does not answer" in out
    assert "Issuer cern" not in out
    text = "issuer 'third' is not known; choose one of: cern, other"
    assert doctor.problems("third") == {"issuer": text}


def test_an_issuer_of_other_namespaces_is_only_looked_at_when_named(doctor: Doctor) -> None:
    doctor.publish(issuer_entry(doctor.server.url, namespaces=["team-b"]))
    out = doctor.run("-A")
    assert "Issuer cern" not in out
    assert "Tokens in all namespaces:" in out
    calls = [call.words for call in doctor.cluster.calls]
    reads = [words[2:5] for words in calls if words[-1].startswith("--output=go-template=")]
    assert reads == [["get", "secrets", "--all-namespaces"]]
    out = doctor.run("--issuer-url", doctor.server.url)
    assert "the issuer is not open to namespace team-a" in out
    assert "open are: team-b" in out


def test_a_program_that_hangs_does_not_hold_the_others_and_is_ended(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_command, "CHECK_SECONDS", 5.0)
    program = doctor.cluster.path
    first, _, rest = program.read_text().partition("\n")
    hang = (
        "import os, pathlib, signal, sys",
        "if 'daemonset' in sys.argv:",
        "    pathlib.Path(__file__).with_name('pid').write_text(str(os.getpid()))",
        "    signal.pause()",
    )
    program.write_text("\n".join([first, *hang, rest]))
    text = "the DaemonSet of the nodes: there was no answer within 5 s"
    assert doctor.problems() == {"nodes": text}
    pid = int(program.with_name("pid").read_text())
    until(lambda: not Path(f"/proc/{pid}").exists(), "the program has ended")
