"""A broker at a real API server: what nodes are served, and the role as a process."""

import json
import re
import signal

import pytest

from csidriver.core.names import BROKER, BROKER_CA
from csidriver.webhook.certificate_secret import empty_secret
from tests.broker.fakes import FakeCluster
from tests.broker.running import NodeClient, RunningBroker
from tests.cluster.noderole import DRIVER
from tests.cluster.thief import HELLO, Thief
from tests.processes import metrics_of, page_of, running
from tests.refresher.bench import until

pytestmark = pytest.mark.tools("etcd", "kube-apiserver", "kubectl", "helm")


def test_the_token_of_a_pod_on_the_node_is_served_and_rotates(thief: Thief, stolen: str) -> None:
    broker = RunningBroker(FakeCluster(), backend=thief.backend())
    with broker, broker.node(stolen) as node:
        node.subscribe(1, thief.web, HELLO.name)
        before = node.state(1, "companion").generation
        thief.write(HELLO, before + 1)
        node.generation(1, before + 1)


def test_the_role_publishes_its_authority_and_serves(thief: Thief, stolen: str) -> None:
    plane = thief.plane
    plane.kubectl("create", "configmap", BROKER_CA, f"--namespace={DRIVER}")
    empty = empty_secret(DRIVER).to_manifest()
    plane.kubectl("apply", "--filename=-", stdin=json.dumps(empty))
    flags = ["--store", "kubernetes", "--listen", "127.0.0.1:0", "--broker-listen", "127.0.0.1:0"]
    kubeconfig = str(plane.service_account(DRIVER, BROKER))
    with running("broker", *flags, "--kubeconfig", kubeconfig) as (process, log):
        served = until(lambda: re.search(r"are served on port (\d+)", log.read_text("utf-8")))
        path = f"/api/v1/namespaces/{DRIVER}/configmaps/{BROKER_CA}"
        authority = until(lambda: plane.api("GET", path).get("data", {}).get("ca.crt"))
        until(lambda: page_of(log, "readyz") == (200, "ok\n"))
        with NodeClient(int(served[1]), authority, stolen) as node:
            assert node.answer(1, thief.web, HELLO.name) == "companion"
            assert "oauth2_csi_broker_subscriptions 1.0" in metrics_of(log)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0, log.read_text("utf-8")
        assert stolen not in log.read_text("utf-8")
