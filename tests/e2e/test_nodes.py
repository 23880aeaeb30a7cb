"""The driver on two nodes of both families of addresses."""

import urllib3

from tests.e2e.addresses import FIRST, url
from tests.e2e.cluster import Cluster


def test_nodes_have_addresses_of_both_families(e2e: Cluster) -> None:
    nodes = e2e.get("nodes")["items"]
    assert sorted(node["metadata"]["name"] for node in nodes) == e2e.own.node_names
    for node in nodes:
        addresses = node["status"]["addresses"]
        internal = [each["address"] for each in addresses if each["type"] == "InternalIP"]
        families = ["6" if ":" in address else "4" for address in internal]
        assert families == (["4", "6"] if FIRST == "4" else ["6", "4"])


def test_the_driver_answers_at_every_address(driver: Cluster) -> None:
    """Of its pods, at the port that kubelet probes."""
    pods = driver.get("pods", "--namespace=oauth2-csi")["items"]
    assert len(pods) >= 2 * 4
    for each in pods:
        (container,) = each["spec"]["containers"]
        (port,) = [p["containerPort"] for p in container["ports"] if p["name"] == "health"]
        for address in each["status"]["podIPs"]:
            page = f"{url(address['ip'], port)}/readyz"
            assert urllib3.request("GET", page, timeout=30.0).data == b"ok\n", page
