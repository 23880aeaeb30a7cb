"""Root on one of two nodes: what it finds there, and what a broker gives it for that.

tests/cluster/test_isolation.py has the rest of the attacks, which need no kubelet.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from csidriver.core.broker.pod_access import PodRef
from csidriver.core.names import BROKER
from tests.broker.running import NodeClient
from tests.e2e.cluster import Cluster
from tests.e2e.installation import PLUGIN
from tests.e2e.node import Node
from tests.e2e.user_namespace import (
    CLIENT,
    UserNamespace,
    new_user_namespace,
    on,
    pod,
    secret,
    volume,
)
from tests.issuer.issuer import ScriptedIssuer

_KUBELET = "/var/lib/kubelet"
_PORT = 9444


@dataclass(frozen=True, slots=True)
class Theft:
    """A stolen node, and the users alice, with a pod there, and bob, with one on the other."""

    cluster: Cluster
    node: Node
    alice: UserNamespace
    bob: UserNamespace

    def of_plugin(self, name: str) -> str:
        """Return a file that the plugin's pod has."""
        pattern = f"pods/*/volumes/kubernetes.io~projected/broker/{name}"
        (path,) = self.node.path(_KUBELET).glob(pattern)
        return path.read_text("utf-8")

    def has(self, token: str) -> bool:
        """Return whether a file of kubelet's or of the plugin has a token; files come and go."""
        for folder in ("pods", f"plugins/{PLUGIN}"):
            for place, _, names in os.walk(self.node.path(f"{_KUBELET}/{folder}")):
                for name in names:
                    with contextlib.suppress(OSError):
                        if token in Path(place, name).read_text("utf-8", "replace"):
                            return True
        return False


@pytest.fixture
def theft(driver: Cluster, slow_issuer: ScriptedIssuer) -> Iterator[Theft]:
    stolen, other = driver.own.nodes
    alice, bob = (new_user_namespace(driver, f"{name}-of-theft") for name in ("alice", "bob"))
    alice.apply(
        *(secret(name, slow_issuer.seed(CLIENT), issuer="slow") for name in ("mine", "unused")),
        pod("web", volumes=[volume("mine", owner="0")], **on(stolen.name)),
    )
    bob.apply(
        secret("theirs", slow_issuer.seed(CLIENT), issuer="slow"),
        pod("db", volumes=[volume("theirs", owner="0")], **on(other.name)),
    )
    for user, name in ((alice, "web"), (bob, "db")):
        user.wait_until_running(name)
    alice.wait_for_status("unused", "Ready")
    yield Theft(driver, stolen, alice, bob)
    driver.kubectl("delete", "namespace", alice.name, bob.name, "--wait=false")


def ref(user: UserNamespace, name: str) -> PodRef:
    return PodRef(user.name, name, user.get("pod", name)["metadata"]["uid"])


def test_a_stolen_node_has_and_gets_the_tokens_of_its_pods_and_nothing_else(theft: Theft) -> None:
    web, db = ref(theft.alice, "web"), ref(theft.bob, "db")
    pods = theft.cluster.get("pods", "--namespace=oauth2-csi")["items"]
    broker = next(each for each in pods if each["spec"]["serviceAccountName"] == BROKER)
    authority, token = theft.of_plugin("ca.crt"), theft.of_plugin("token")
    with NodeClient(_PORT, authority, token, broker["status"]["podIP"]) as node:
        node.subscribe(0, web, "mine")
        assert node.state(0, "companion").access_token == theft.alice.access_token("mine")
        claims = ((db, "theirs", "other_node"), (web, "unused", "not_in_pod"))
        for number, (claimed, name, reason) in enumerate(claims, 1):
            node.subscribe(number, claimed, name)
            assert node.state(number, "denied").reason == reason
    assert theft.has(theft.alice.access_token("mine"))
    for user, name in ((theft.alice, "unused"), (theft.bob, "theirs")):
        assert not theft.has(user.access_token(name))
