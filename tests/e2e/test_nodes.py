"""Two nodes of both families of addresses, whose pods reach each other."""

import json
from pathlib import Path

import pytest

from tests.e2e.addresses import FIRST, url
from tests.e2e.cluster import Cluster, until
from tests.e2e.user_namespace import PYTHON, UserNamespace, on, pod

_FETCH = (Path(__file__).parent / "pods/fetch.py").read_text(encoding="utf-8")
_PORT = 8080
# A pod's name is in /etc/hostname.
_SERVER = ("-m", "http.server", str(_PORT), "--bind", "::", "--directory", "/etc")


@pytest.fixture
def ends(user: UserNamespace) -> tuple[str, str]:
    """A pod on each node; each serves its name, the second one also behind a Service."""
    names = user.cluster.own.node_names
    main = {"image": user.cluster.image, "command": [PYTHON, *_SERVER]}
    pods = [pod(node, main=main, **on(node)) for node in names]
    pods[1]["metadata"]["labels"] = {"app": "server"}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "server"},
        "spec": {
            "ipFamilyPolicy": "RequireDualStack",
            "selector": {"app": "server"},
            "ports": [{"port": 80, "targetPort": _PORT}],
        },
    }
    user.apply(service, *pods)
    for name in names:
        user.wait_until_running(name)
    first, second = names
    return first, second


def test_pods_reach_each_other_at_every_address(user: UserNamespace, ends: tuple[str, str]) -> None:
    for client, server in (ends, reversed(ends)):
        addresses = [each["ip"] for each in user.get("pod", server)["status"]["podIPs"]]
        assert families(addresses) == order()
        urls = [f"{url(address, _PORT)}/hostname" for address in addresses]
        until(f"{urls} answer", lambda c=client, s=server, u=urls: set(fetch(user, c, u)) == {s})  # type: ignore[misc]


def test_a_pod_reaches_a_service_on_the_other_node(
    user: UserNamespace, ends: tuple[str, str]
) -> None:
    client, server = ends
    addresses = user.get("service", "server")["spec"]["clusterIPs"]
    assert families(addresses) == order()
    names = [*(url(address, 80) for address in addresses), f"http://server.{user.name}.svc"]
    urls = [f"{name}/hostname" for name in names]
    until(f"{urls} answer", lambda: set(fetch(user, client, urls)) == {server})


def test_nodes_have_addresses_of_both_families(e2e: Cluster) -> None:
    nodes = e2e.get("nodes")["items"]
    assert sorted(node["metadata"]["name"] for node in nodes) == e2e.own.node_names
    for node in nodes:
        addresses = node["status"]["addresses"]
        internal = [each["address"] for each in addresses if each["type"] == "InternalIP"]
        assert families(internal) == order()


def test_the_driver_answers_at_every_address(user: UserNamespace, ends: tuple[str, str]) -> None:
    # Of its pods, at the port that kubelet probes.
    pods = user.cluster.get("pods", "--namespace=oauth2-csi")["items"]
    assert len(pods) >= 2 * 4
    urls = []
    for each in pods:
        (container,) = each["spec"]["containers"]
        (port,) = [p["containerPort"] for p in container["ports"] if p["name"] == "health"]
        urls += [f"{url(each['ip'], port)}/readyz" for each in each["status"]["podIPs"]]
    answers = dict(zip(urls, fetch(user, ends[0], urls), strict=True))
    assert {at: answer for at, answer in answers.items() if answer != "ok"} == {}


def order() -> list[str]:
    return ["4", "6"] if FIRST == "4" else ["6", "4"]


def families(addresses: list[str]) -> list[str]:
    return ["6" if ":" in address else "4" for address in addresses]


def fetch(user: UserNamespace, pod: str, urls: list[str]) -> list[str]:
    answers = json.loads(user.execute(pod, PYTHON, "-c", _FETCH, *urls))
    return [answers[url].strip() for url in urls]
