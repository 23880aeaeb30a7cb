"""The node's adapter at a real API server: what every backend promises, and how watches go on."""

import json
import logging
import secrets
import threading
import time
from collections.abc import Mapping
from typing import Any

import pytest

from csidriver.adapters.rest import RestStore, Timings, kubeconfig
from csidriver.core.names import SourceRef
from csidriver.core.sensitive import Sensitive
from tests.cluster.controlplane import ControlPlane
from tests.cluster.noderole import TOKENS, NodeRole
from tests.contract import test_reading as contract
from tests.contract.test_store import watched
from tests.node.plugin import companion, token

pytestmark = pytest.mark.tools("etcd", "kube-apiserver", "kubectl")

REF = SourceRef("alice-of-reading", "hello")


class RealHarness:
    """One namespace; kubectl is what others use."""

    def __init__(self, plane: ControlPlane) -> None:
        self.namespace = f"reading-{secrets.token_hex(4)}"
        self.store = RestStore(kubeconfig(plane.kubeconfig), Timings(poll=0.05))
        self._plane = plane
        plane.kubectl("create", "namespace", self.namespace)

    def apply(self, manifest: Mapping[str, Any]) -> None:
        here = f"--namespace={self.namespace}"
        self._plane.kubectl("apply", "--filename=-", here, stdin=json.dumps(manifest))

    def remove(self, kind: str, name: str) -> None:
        self._plane.kubectl("delete", kind, name, f"--namespace={self.namespace}")


class TestReading(contract.TestReading):
    @pytest.fixture
    def harness(self, control_plane: ControlPlane) -> RealHarness:
        return RealHarness(control_plane)


@pytest.fixture(scope="module")
def role(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> NodeRole:
    return NodeRole(control_plane, tmp_path_factory.mktemp("role"))


def test_nothing_is_lost_or_told_twice_while_watches_end(
    role: NodeRole, caplog: pytest.LogCaptureFixture
) -> None:
    """The server ends each watch after a second; news pour in all the time."""
    caplog.set_level(logging.DEBUG, logger="urllib3.connectionpool")
    store = RestStore(role.credentials, Timings(watch=(1, 1), poll=0.05))
    following = watched(lambda stop: store.watch_secret(TOKENS, REF.companion, stop))
    with following as told:
        assert told() is None
        written, end = 0, time.monotonic() + 2.2
        while time.monotonic() < end:
            written += 1
            role.write_companion(companion(token(f"at-{written}"), written), REF)
        for number in range(1, written + 1):
            secret = told()
            assert secret is not None
            assert secret.data["access_token"] == Sensitive(f"at-{number}")
    asked = [line for line in caplog.messages if "/secrets?" in line]
    watches = [line for line in asked if "watch=true" in line]
    assert len(watches) >= 3
    assert len(asked) - len(watches) == 1


def test_data_that_is_no_text_is_as_if_absent(role: NodeRole) -> None:
    store = RestStore(role.credentials)
    odd = {"document": "/wD+", "state": "YQ==\n"}
    path = f"/api/v1/namespaces/{TOKENS}/secrets"
    body = {"metadata": {"name": "token-odd"}, "data": odd}
    assert role.plane.api("POST", path, body)["kind"] == "Secret"
    secret = next(store.watch_secret(TOKENS, "token-odd", threading.Event()))
    assert secret is not None
    assert secret.data == {"state": Sensitive("a")}
