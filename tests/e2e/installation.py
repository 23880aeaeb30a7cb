"""Installation of the driver as docs/install.md describes it, and what a removal leaves."""

from pathlib import Path

from tests.e2e.cluster import Cluster
from tests.e2e.node import Node
from tools.image import CLONE

CHART = CLONE / "deploy/chart"
PLUGIN = "oauth2.csi.cern.ch"
_NAMESPACE = "--namespace=oauth2-csi"


def install(cluster: Cluster, values: str, chart: Path = CHART) -> None:
    """Install a chart with values, `key=JSON`; wait until all its pods are ready."""
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": "oauth2-csi",
                "labels": {"pod-security.kubernetes.io/enforce": "privileged"},
            },
        }
    )
    cluster.helm("install", "oauth2-csi", str(chart), _NAMESPACE, "--set-json", values)
    cluster.roll_out("daemonset/oauth2-csi-node", *cluster.names("deployments", _NAMESPACE))


def leftovers(cluster: Cluster) -> list[str]:
    """Return the driver's objects on nodes and in the cluster, without the users' objects."""
    kinds = cluster.kubectl("api-resources", "--verbs=list", "--output=name").split()
    listed = ",".join(kind for kind in kinds if not kind.startswith("events"))
    found = [name for name in cluster.names(listed, "-A") if "oauth2-csi" in name or PLUGIN in name]
    for entry in cluster.get("csinodes")["items"]:
        found += [f"CSINode: {driver['name']}" for driver in entry["spec"]["drivers"] or []]
    nodes = cluster.machine.nodes if cluster.machine else ()
    return found + [f"{node.name}: {each}" for node in nodes for each in leftovers_of_node(node)]


def leftovers_of_node(node: Node) -> list[str]:
    root = "/var/lib/kubelet"
    marks = (PLUGIN, "/kubernetes.io~csi/", "/volume-subpaths/")
    found = [m.target for m in node.mounts("") if any(mark in m.target for mark in marks)]
    paths = (f"{root}/plugins/{PLUGIN}", f"{root}/plugins_registry/{PLUGIN}-reg.sock")
    return found + [place for place in paths if node.path(place).exists()]
