"""A broker as a process at a real API server, and what a node needs to ask it."""

import re
import subprocess
import time
from pathlib import Path

from csidriver.core.broker.pod_access import PodRef
from csidriver.core.names import BROKER, BROKER_AUDIENCE, DRIVER_NAMESPACE, NODE
from tests.broker.fakes import pod_manifest
from tests.broker.running import HOST, PKI
from tests.cluster.controlplane import ControlPlane
from tests.processes import command, page_of
from tests.waiting import until

ADDRESS = "127.0.0.1"


class BrokerRole:
    """A broker with the rights of `deploy/`. `start` and `stop` it any number of times, `close` it.

    It keeps its port. Nodes trust `authorities`.
    """

    def __init__(self, plane: ControlPlane, folder: Path) -> None:
        self.plane = plane
        self.port = 0
        self.authorities, self.log = folder / "ca.crt", folder / "broker.log"
        self._certificate, self._key = folder / "tls.crt", folder / "tls.key"
        self._process: subprocess.Popen[bytes] | None = None
        plane.install()
        self.renew_certificate()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def node_flags(self) -> tuple[str, ...]:
        """Flags of the node role that are the same for all nodes."""
        return ("--broker", f"{ADDRESS}:{self.port}", "--broker-ca", str(self.authorities))

    def start(self, *flags: str) -> None:
        """Start the broker and wait until it serves what the API server has."""
        kubeconfig = self.plane.service_account(DRIVER_NAMESPACE, BROKER)
        arguments = (
            *("--store", "kubernetes", "--kubeconfig", str(kubeconfig)),
            *("--listen", f"{ADDRESS}:0", "--broker-listen", f"{ADDRESS}:{self.port}"),
            *("--tls-cert-file", str(self._certificate), "--tls-key-file", str(self._key)),
        )
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                command("broker", *arguments, *flags), stdout=log, stderr=log
            )
        page_of(self.log, "readyz")  # which waits for a slow start
        served = until(lambda: re.search(r"are served on port (\d+)", self.log.read_text("utf-8")))
        self.port = int(served[1])
        until(lambda: page_of(self.log, "readyz") == (200, "ok\n"))

    def close(self) -> None:
        """Kill it; harmless if it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)

    def renew_certificate(self) -> None:
        """Write a certificate, and let nodes trust its new authority alone."""
        now = time.time()
        authority, key_of_authority = PKI.new_authority(now, 3600)
        names = {ADDRESS, HOST}
        issued, key = PKI.issue_serving_certificate(authority, key_of_authority, names, now, 3600)
        self._key.write_text(key.reveal(), encoding="ascii")
        self._certificate.write_text(issued.pem, encoding="ascii")
        self.authorities.write_text(authority.pem, encoding="ascii")

    def plugin_token(self, node: str) -> str:
        plugin = f"plugin-{node}"
        pods = f"/api/v1/namespaces/{DRIVER_NAMESPACE}/pods"
        if self.plane.api("GET", f"{pods}/{plugin}")["kind"] != "Pod":
            create_pod(self.plane, DRIVER_NAMESPACE, plugin, node, account=NODE)
        bound = ("--bound-object-kind=Pod", f"--bound-object-name={plugin}")
        flags = (f"--namespace={DRIVER_NAMESPACE}", f"--audience={BROKER_AUDIENCE}", *bound)
        return self.plane.kubectl("create", "token", NODE, *flags).strip()


def create_pod(
    plane: ControlPlane,
    namespace: str,
    name: str,
    node: str,
    *secrets: str,
    account: str = "default",
    **attributes: str,
) -> PodRef:
    """Create a pod that is bound to a node and has a volume for each Secret."""
    manifest = pod_manifest(PodRef(namespace, name, ""), node, *secrets, **attributes)
    manifest["spec"] |= {
        "serviceAccountName": account,
        "automountServiceAccountToken": False,
        "containers": [{"name": "main", "image": "main"}],
    }
    made = plane.api("POST", f"/api/v1/namespaces/{namespace}/pods", manifest)
    assert made["kind"] == "Pod", made
    return PodRef(namespace, name, made["metadata"]["uid"])


def create_namespace(plane: ControlPlane, name: str) -> None:
    """Create a namespace with the account that its pods have, if they do not exist."""
    manifest = {"metadata": {"name": name}}
    plane.api("POST", "/api/v1/namespaces", manifest)
    account = {"metadata": {"name": "default"}}
    plane.api("POST", f"/api/v1/namespaces/{name}/serviceaccounts", account)
