"""A Kubernetes node: containerd, kubelet, kube-proxy and a name server on a host of their own.

For use from within the machine's process and network namespaces (machine.inside).
"""

import signal
import threading
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import urllib3

from tests.cluster.controlplane import ControlPlane
from tests.e2e import configuration
from tests.e2e.addresses import NodeAddresses
from tests.e2e.host import Host
from tests.e2e.network import Network, commands_of_a_node
from tools.programs import program


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all nodes of a machine share.

    `root` is their root file system, `cgroup` has one for each node, `disk` one folder each, and
    `memory` the files of the control plane. Their logs go to `logs`.
    """

    plane: ControlPlane
    network: Network
    root: Path
    cgroup: str
    disk: Path
    memory: Path
    logs: Path


class Node(Host):
    """A node to be prepared, given a runtime and images, and started beside a control plane."""

    def __init__(self, addresses: NodeAddresses, shared: Surroundings) -> None:
        logs = shared.logs / addresses.name
        super().__init__(f"{shared.cgroup}/{addresses.name}", logs)
        logs.mkdir()
        self.name = addresses.name
        self._addresses = addresses
        self._shared = shared

    @staticmethod
    def users(addresses: NodeAddresses) -> dict[str, str]:
        return {
            f"system:node:{addresses.name}": "system:nodes",
            "system:kube-proxy": "system:node-proxiers",
        }

    def prepare(self, archives: Sequence[Path]) -> None:
        """Make its file system, in which archives have their path, and its network."""
        box = self._shared.disk / self.name
        bound = [(self._shared.memory, str(self._shared.memory))]
        bound += [(archive, str(archive)) for archive in archives]
        bound += [(program(name), f"/usr/local/bin/{name}") for name in ("kubelet", "kube-proxy")]
        for place in ("/var/lib/containerd", "/var/lib/kubelet"):
            # Not on an overlay: containerd makes overlays in there, and kubelet measures it.
            folder = self._shared.disk / f"{self.name}-{Path(place).name}"
            folder.mkdir()
            bound.append((folder, place))
        self.enter(self._shared.root, box, bound)
        self._shared.network.connect(self._addresses, self.first)
        for command in commands_of_a_node(self._addresses):
            self.run(*command)
        self.run("hostname", self.name)
        first, second = self._addresses.own
        self.write("/etc/resolv.conf", f"nameserver {first}\n")
        self.write(
            "/etc/hosts", f"127.0.0.1 localhost\n{first} {self.name}\n{second} {self.name}\n"
        )
        self.write("/etc/machine-id", f"{uuid.uuid4().hex}\n")
        self.write("/etc/containerd/config.toml", configuration.CONTAINERD)
        self.write("/etc/cni/net.d/10-pods.conflist", configuration.network(self._addresses))
        for name, value in configuration.SYSCTLS.items():
            stand_in = f"/run/sysctl/{name}"
            self.write(stand_in, f"{value}\n")
            self.run("mount", "--bind", stand_in, f"/proc/sys/{name}")

    def start_runtime(self) -> None:
        self.run_service("containerd", "containerd")

    def import_images(self, archives: Sequence[Path]) -> None:
        self.until("containerd answers", lambda: self.try_run("ctr", "version").returncode == 0)
        for archive in archives:
            self.run("ctr", "--namespace=k8s.io", "images", "import", str(archive))

    def start(self) -> None:
        first, second = self._addresses.own
        proxy = configuration.proxy(self.name, self._kubeconfig("system:kube-proxy"))
        self.write(
            "/etc/kubernetes/kubelet.json", configuration.kubelet(self._addresses, self.cgroup)
        )
        self.write("/etc/kubernetes/proxy.json", proxy)
        self.write("/run/dns", "")
        self.run_service(
            "dns",
            *("dnsmasq", "--keep-in-foreground", "--log-facility=-", "--user=root"),
            *("--no-resolv", "--no-hosts", "--addn-hosts=/run/dns", "--local=/cluster.local/"),
            *(f"--listen-address={first}", f"--listen-address={second}"),
            *("--bind-interfaces", "--pid-file=/run/dns.pid"),
        )
        self.run_service(
            "kubelet",
            *("kubelet", "--config=/etc/kubernetes/kubelet.json", f"--node-ip={first},{second}"),
            f"--hostname-override={self.name}",
            f"--kubeconfig={self._kubeconfig(f'system:node:{self.name}')}",
        )
        self.run_service("kube-proxy", "kube-proxy", "--config=/etc/kubernetes/proxy.json")
        # Before it has written its pid, SIGHUP would end it.
        self.until("the DNS server runs", self.path("/run/dns.pid").exists)
        threading.Thread(target=self._follow_services, daemon=True).start()

    def wait_until_ready(self) -> None:
        self.until("the node is ready", self._is_ready)

    def restart_kubelet(self) -> None:
        """Kill kubelet, start it again, and wait until it knows its pods.

        Before, it answers, but with 404 for their logs, and their status is of before.
        """
        self.restart("kubelet")
        self.until("kubelet knows its pods", self._knows_its_pods)

    def _knows_its_pods(self) -> bool:
        bound = self._uids_of(f"/api/v1/pods?fieldSelector=spec.nodeName={self.name}")
        return bool(bound) and bound <= self._uids_of(f"/api/v1/nodes/{self.name}/proxy/pods")

    def _uids_of(self, path: str) -> set[str]:
        answer = self._shared.plane.api("GET", path)
        return {pod["metadata"]["uid"] for pod in answer.get("items") or []}

    def _kubeconfig(self, user: str) -> Path:
        return self._shared.plane.kubeconfig_of(user)

    def _is_ready(self) -> bool:
        node = self._shared.plane.api("GET", f"/api/v1/nodes/{self.name}")
        conditions = node["status"].get("conditions", []) if node["kind"] == "Node" else []
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    def _follow_services(self) -> None:
        """Keep a name for every Service, as a cluster's DNS does."""
        hosts = ""
        pause = threading.Event()
        while not pause.wait(0.5):
            try:
                services, slices = (
                    self._shared.plane.api("GET", f"/{path}")["items"]
                    for path in ("api/v1/services", "apis/discovery.k8s.io/v1/endpointslices")
                )
            except (urllib3.exceptions.HTTPError, KeyError, ValueError):
                continue
            found = configuration.hosts(services, slices)
            if found != hosts:
                hosts = found
                self.write("/run/dns", hosts)
                self.signal("dns", signal.SIGHUP)
