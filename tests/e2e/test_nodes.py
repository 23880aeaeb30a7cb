"""The driver on two nodes of both families of addresses."""

import json
from pathlib import Path

from tests.e2e.addresses import FIRST, url
from tests.e2e.cluster import Cluster
from tests.e2e.user_namespace import PYTHON, UserNamespace, pod, python

_FETCH = (Path(__file__).parent / "pods/fetch.py").read_text(encoding="utf-8")


def test_nodes_have_addresses_of_both_families(e2e: Cluster) -> None:
    nodes = e2e.get("nodes")["items"]
    assert sorted(node["metadata"]["name"] for node in nodes) == e2e.own.node_names
    for node in nodes:
        addresses = node["status"]["addresses"]
        internal = [each["address"] for each in addresses if each["type"] == "InternalIP"]
        assert families(internal) == order()


def test_the_driver_answers_at_every_address(user: UserNamespace) -> None:
    user.apply(pod("client", main=python(user.cluster.image, "import time; time.sleep(900)")))
    user.wait_until_running("client")
    # Of its pods, at the port that kubelet probes.
    pods = user.cluster.get("pods", "--namespace=oauth2-csi")["items"]
    assert len(pods) >= 2 * 4
    urls = []
    for each in pods:
        (container,) = each["spec"]["containers"]
        (port,) = [p["containerPort"] for p in container["ports"] if p["name"] == "health"]
        urls += [f"{url(each['ip'], port)}/readyz" for each in each["status"]["podIPs"]]
    answers = json.loads(user.execute("client", PYTHON, "-c", _FETCH, *urls))
    assert {at: answer for at, answer in answers.items() if answer.strip() != "ok"} == {}


def order() -> list[str]:
    return ["4", "6"] if FIRST == "4" else ["6", "4"]


def families(addresses: list[str]) -> list[str]:
    return ["6" if ":" in address else "4" for address in addresses]
