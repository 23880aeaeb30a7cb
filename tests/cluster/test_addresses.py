"""The announcement's example at an API server with an IPv6 address, on hosts with and without IPv4.

The roles run with the rights of `deploy/`; kubelet has a stand-in.
"""

import json
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from csidriver.adapters.mounts import Mounts
from csidriver.core.names import DRIVER_NAMESPACE, REFRESHER, WEBHOOK
from csidriver.demo.environment import load_example
from csidriver.demo.issuer import DEMO_SEED
from csidriver.demo.kubelet import Kubelet
from tests.cluster.broker_role import BrokerRole
from tests.cluster.cluster import Cluster
from tests.cluster.controlplane import PROGRAMS, ControlPlane
from tests.cluster.installation import manifests
from tests.cluster.noderole import NODE_ID
from tests.cluster.webhook_cluster import WebhookCluster
from tests.network_namespace import IPV6, IPV6_FIRST, IPV6_ONLY, Host, on
from tests.processes import page_of, running
from tests.refresher.bench import Bench, until

pytestmark = [pytest.mark.tools(*PROGRAMS), pytest.mark.mounts]
NAMESPACE = "default"
REVIEWS = re.compile(r"admission reviews on port ([0-9]+)")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short one: the path of a socket has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="a", dir="/tmp") as path:
        yield Path(path)
        for mount in reversed(Mounts().table()):
            if Path(mount.target).is_relative_to(path):
                Mounts().unmount(Path(mount.target))


class Installation(ExitStack):
    """The driver's roles, and the API server, at the first address of this host."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self.plane = self.enter_context(closing(ControlPlane(address=IPV6)))
        self.plane.start()
        self.cluster = Cluster(self.plane)
        self.webhooks = WebhookCluster(self.cluster)
        self.bench = self.enter_context(Bench(folder))
        self.bench.issuer.seed("my-app", DEMO_SEED)
        self._broker = self.enter_context(closing(BrokerRole(self.plane, folder, IPV6)))
        self.kubelet = Kubelet(folder / "k", Mounts(), NAMESPACE)
        self.kubelet.prepare()

    def start(self) -> None:
        """Start all roles, and wait until they are ready."""
        spool, view = self._folder / "spool", self._folder / "v"
        flags = ["--issuers", str(self.bench.issuers), "--spool-dir", str(spool)]
        logs = [self._role(REFRESHER, *flags)]
        self._broker.start()
        logs += [self._broker.log]
        token = self._folder / "token"
        token.write_text(self._broker.plugin_token(NODE_ID), encoding="ascii")
        flags = ["--broker-token", str(token), *self._broker.node_flags]
        flags += ["--kubelet-dir", str(self.kubelet.root), "--view-dir", str(view)]
        logs += [self._start("node", *flags)]
        self.kubelet.register(threading.Event(), 20, lambda: None)
        self.callback(self.kubelet.stop)
        # Until its CA is in the configuration it is not ready.
        logs += [self._role(WEBHOOK, "--webhook-listen", ":0", "--webhook-service", IPV6)]
        log = logs[-1]
        port = until(lambda: REVIEWS.search(log.read_text(encoding="utf-8")))[1]
        (configuration,) = manifests("MutatingWebhookConfiguration")
        url = f"https://[{IPV6}]:{port}/mutate"
        configuration["webhooks"][0]["clientConfig"] = {"url": url}
        self.plane.kubectl("apply", "--filename=-", stdin=json.dumps(configuration))
        for found in logs:
            until(lambda found=found: page_of(found, "readyz") == (200, "ok\n"))  # type: ignore[misc]

    def _role(self, account: str, *flags: str) -> Path:
        kubeconfig = self.plane.service_account(DRIVER_NAMESPACE, account)
        role = account.removeprefix("oauth2-csi-")
        return self._start(role, "--kubeconfig", str(kubeconfig), *flags)

    def _start(self, role: str, *flags: str) -> Path:
        _, log = self.enter_context(
            running(role, "--store", "kubernetes", "--listen", ":0", *flags)
        )
        return log


@pytest.mark.parametrize("host", [IPV6_ONLY, IPV6_FIRST], ids=str)
def test_the_announcements_example_runs_at_an_api_server_with_an_ipv6_address(
    host: Host, folder: Path
) -> None:
    def run() -> None:
        with Installation(folder) as installed:
            installed.start()
            for manifest in load_example("hello-token.yaml"):
                installed.plane.kubectl(
                    "apply", "--filename=-", f"--namespace={NAMESPACE}", stdin=json.dumps(manifest)
                )
            account = {"kind": "ServiceAccount", "metadata": {"name": "default"}}
            path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts"
            installed.plane.api("POST", path, account)
            installed.webhooks.wait_until_served(NAMESPACE)
            (announced,) = load_example("announcement/token-printer.yaml")
            announced["spec"]["nodeName"] = NODE_ID
            status, pod = installed.webhooks.create_pod(NAMESPACE, announced)
            assert status == 201, pod
            (container,) = installed.kubelet.start(pod, folder / "c")
            token = (container.root / "tmp/oauthtk_0").read_text(encoding="ascii")
            assert installed.bench.issuer.verify(token)

    on(host, run)
