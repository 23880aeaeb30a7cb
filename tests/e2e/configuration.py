"""The configuration of a node's programs: containerd, pod network, kubelet, kube-proxy."""

import json
from pathlib import Path
from typing import Any

from tests.e2e.addresses import PODS, NodeAddresses

_SERVICE = "kubernetes.io/service-name"
_TIMEOUTS = ("tcpEstablishedTimeout", "tcpCloseWaitTimeout")

# kubelet sets these for the whole machine. It finds them as it wants them, and writes nothing.
SYSCTLS = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1000000,
    "kernel/keys/root_maxbytes": 25000000,
}
CONTAINERD = """\
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:e2e"
  # Root may lack CAP_SYS_RESOURCE, and then cannot ask for less than it has.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
"""


def network(node: NodeAddresses) -> str:
    """For containerd: every pod gets addresses on the bridge cni0, which the node has, too."""
    subnets = zip(node.pods, node.gateways, strict=True)
    addresses: dict[str, Any] = {
        "type": "host-local",
        "ranges": [[{"subnet": subnet, "gateway": gateway}] for subnet, gateway in subnets],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
    }
    bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "hairpinMode": True}
    plugins = [bridge | {"ipam": addresses}]
    return json.dumps({"cniVersion": "0.4.0", "name": "pods", "plugins": plugins})


def kubelet(node: NodeAddresses, cgroup: str) -> str:
    """For kubelet, which keeps to a cgroup."""
    return json.dumps(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": node.own[0],
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"},
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{cgroup}",
            "failCgroupV1": False,
            "failSwapOn": False,
            "clusterDNS": [node.own[0]],
            "clusterDomain": "cluster.local",
            "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
            "evictionHard": dict.fromkeys(("nodefs.available", "imagefs.available"), "0%"),
            "imageGCHighThresholdPercent": 100,
            # Brings the republish of a running pod every 10 to 15 s instead of 60 to 90.
            "syncFrequency": "10s",
        }
    )


def proxy(node: str, kubeconfig: Path) -> str:
    return json.dumps(
        {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "clientConnection": {"kubeconfig": str(kubeconfig)},
            "mode": "iptables",
            "hostnameOverride": node,
            "clusterCIDR": ",".join(PODS),
            # Pods of one bridge would answer each other past the translation.
            "iptables": {"masqueradeAll": True},
            # These are the machine's, not the namespace's.
            "conntrack": {"maxPerCore": 0, "min": 0} | dict.fromkeys(_TIMEOUTS, "0s"),
        }
    )


def hosts(services: list[dict[str, Any]], slices: list[dict[str, Any]]) -> str:
    """For the name server: the names of Services; of headless ones with the ready endpoints."""
    lines = []
    for service in services:
        metadata = service["metadata"]
        addresses = set(service["spec"].get("clusterIPs", ["None"]))
        if addresses == {"None"}:
            addresses = {
                address
                for each in slices
                if each["metadata"]["namespace"] == metadata["namespace"]
                and each["metadata"].get("labels", {}).get(_SERVICE) == metadata["name"]
                for endpoint in each["endpoints"] or []
                if endpoint["conditions"].get("ready")
                for address in endpoint["addresses"]
            }
        name = f"{metadata['name']}.{metadata['namespace']}.svc"
        lines += [f"{address} {name}.cluster.local {name}\n" for address in addresses]
    return "".join(sorted(lines))
