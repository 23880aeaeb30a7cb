"""Root on one of two nodes: what it finds there, and what a broker gives it for that.

tests/cluster/test_isolation.py has the rest of the attacks, which need no kubelet.
"""

import contextlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import urllib3

from csidriver.core.annotations import TO_INJECT
from csidriver.core.broker.pod_access import PodRef
from csidriver.core.names import BROKER, BROKER_AUDIENCE, NODE, SourceRef
from tests.broker.running import NodeClient
from tests.cluster.kubectl import write_kubeconfig
from tests.cluster.thief import patch_status
from tests.e2e.addresses import url
from tests.e2e.cluster import Cluster, Manifest, until
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
_PORT, _METRICS = 9444, 9811
_DRIVER = "--namespace=oauth2-csi"


@dataclass(frozen=True, slots=True)
class Theft:
    """A stolen node, and the users alice, with pods there, and bob, with one on the other."""

    cluster: Cluster
    node: Node
    alice: UserNamespace
    bob: UserNamespace
    broker: Manifest

    @property
    def user(self) -> str:
        """The kubelet."""
        return f"system:node:{self.node.name}"

    def find(self, pattern: str) -> list[str]:
        """Return the contents of files of the node."""
        paths = self.node.path(_KUBELET).glob(pattern)
        return [path.read_text("utf-8", "replace") for path in paths if path.is_file()]

    def has(self, token: str) -> bool:
        """Return whether a file of kubelet's or of the plugin has a token; files come and go."""
        for folder in ("pods", f"plugins/{PLUGIN}"):
            for place, _, names in os.walk(self.node.path(f"{_KUBELET}/{folder}")):
                for name in names:
                    with contextlib.suppress(OSError):
                        if token in Path(place, name).read_text("utf-8", "replace"):
                            return True
        return False

    def connect(self, token: str) -> NodeClient:
        """Open a stream to the broker; its CA is on the node."""
        (authority,) = self.find("pods/*/volumes/kubernetes.io~projected/broker/ca.crt")
        return NodeClient(_PORT, authority, token, self.broker["status"]["podIP"])

    def plugin_token(self) -> str:
        (token,) = self.find("pods/*/volumes/kubernetes.io~projected/broker/token")
        return token

    def kubelet(self, *command: str) -> str:
        """Run kubectl with the kubelet's credential; return what it says of its failure."""
        plane = self.cluster.own.plane
        return plane.try_kubectl(*command, kubeconfig=plane.kubeconfig_of(self.user)).stderr

    def denials(self) -> Counter[str]:
        """Return how many denials the broker has counted, by reason."""
        page = f"{url(self.broker['status']['podIP'], _METRICS)}/metrics"
        with urllib3.PoolManager() as pool:
            text = pool.request("GET", page).data.decode()
        counter = r'^oauth2_csi_broker_denials_total{reason="(\w+)"} (\S+)$'
        found = re.findall(counter, text, re.MULTILINE)
        return Counter({reason: int(float(count)) for reason, count in found})

    def logged(self) -> Counter[str]:
        """Return how many denials the broker has logged, by reason."""
        log = self.cluster.kubectl("logs", self.broker["metadata"]["name"], _DRIVER)
        return Counter(re.findall(r"denied .*\((\w+)\)", log))


@pytest.fixture(scope="module")
def theft(driver: Cluster, slow_issuer: ScriptedIssuer) -> Iterator[Theft]:
    stolen, other = driver.own.nodes
    alice, bob = (new_user_namespace(driver, f"{name}-of-theft") for name in ("alice", "bob"))
    alice.apply(
        *(secret(name, slow_issuer.seed(CLIENT), issuer="slow") for name in ("mine", "unused")),
        pod("web", volumes=[volume("mine", owner="0")], **on(stolen.name)),
        pod(
            "ended",
            volumes=[volume("mine", owner="0")],
            main={"command": ["true"]},
            restartPolicy="Never",
            **on(stolen.name),
        ),
        pod("gone", volumes=[volume("mine", owner="0")], **on(stolen.name)),
        author_of_a_token(stolen),
    )
    bob.apply(
        secret("theirs", slow_issuer.seed(CLIENT), issuer="slow"),
        pod("db", volumes=[volume("theirs", owner="0")], **on(other.name)),
    )
    for user, name in ((alice, "web"), (alice, "gone"), (alice, "author"), (bob, "db")):
        user.wait_until_running(name)
    alice.wait_for_status("unused", "Ready")
    alice.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/ended", "--timeout=60s")
    pods = driver.get("pods", _DRIVER)["items"]
    broker = next(each for each in pods if each["spec"]["serviceAccountName"] == BROKER)
    yield Theft(driver, stolen, alice, bob, broker)
    driver.kubectl("delete", "namespace", alice.name, bob.name, "--wait=false")


def author_of_a_token(node: Node) -> Manifest:
    """Return a pod whose author asks for a token of the broker's audience."""
    source = {"serviceAccountToken": {"audience": BROKER_AUDIENCE, "path": "token"}}
    return pod(
        "author", volumes=[{"name": "token", "projected": {"sources": [source]}}], **on(node.name)
    )


def ref(user: UserNamespace, name: str) -> PodRef:
    return PodRef(user.name, name, user.get("pod", name)["metadata"]["uid"])


def test_a_stolen_node_gets_the_tokens_of_its_pods_and_nothing_else(theft: Theft) -> None:
    web, db, gone = ref(theft.alice, "web"), ref(theft.bob, "db"), ref(theft.alice, "gone")
    theft.alice.delete("pod/gone")
    entry = json.dumps([{"secretName": "unused", "container": "main", "owner": 0}])
    written = {"metadata": {"annotations": {TO_INJECT: entry}}}
    assert patch_status(theft.cluster.own.plane, theft.user, web, written) == 200
    assert theft.alice.get("pod", "web")["metadata"]["annotations"][TO_INJECT] == entry
    claims = [
        (db, "theirs", "other_node"),
        (PodRef(db.namespace, "web", web.uid), "theirs", "pod_absent"),
        (PodRef(db.namespace, "db", web.uid), "theirs", "pod_replaced"),
        (web, "unused", "not_in_pod"),
        (ref(theft.alice, "ended"), "mine", "pod_ended"),
        (gone, "mine", "pod_absent"),
    ]
    counted, logged = theft.denials(), theft.logged()
    with theft.connect(theft.plugin_token()) as node:
        node.subscribe(0, web, "mine")
        assert node.state(0, "companion").access_token == theft.alice.access_token("mine")
        for number, (claimed, name, reason) in enumerate(claims, 1):
            node.subscribe(number, claimed, name)
            assert node.state(number, "denied").reason == reason
        node.subscribe(99, web, config_map="kube-root-ca.crt")
        assert node.state(99, "denied").reason == "not_in_pod"
    expected = Counter(["not_in_pod", *(reason for *_, reason in claims)])
    until("the broker has logged each", lambda: theft.logged() - logged >= expected)
    assert theft.denials() - counted >= expected


def test_no_other_token_of_the_node_opens_a_stream(theft: Theft) -> None:
    author = ref(theft.alice, "author").uid
    (of_author,) = theft.find(f"pods/{author}/volumes/kubernetes.io~projected/token/token")
    logged = theft.logged()
    for token, reason in ((of_author, "wrong_account"), ("", "token_refused")):
        with theft.connect(token) as node:
            assert node.ended().name == "UNAUTHENTICATED"
            assert f"({reason})" in node.details
    expected = Counter(["wrong_account", "token_refused"])
    until("the broker has logged each", lambda: theft.logged() - logged >= expected)


def test_the_files_of_the_node_have_the_tokens_of_its_pods_alone(theft: Theft) -> None:
    assert theft.has(theft.alice.access_token("mine"))
    for user, name in ((theft.alice, "unused"), (theft.bob, "theirs")):
        assert not theft.has(user.access_token(name))


def test_the_api_gives_the_credentials_of_the_node_no_token(theft: Theft) -> None:
    plugins = theft.cluster.get("pods", _DRIVER)["items"]
    (other,) = (
        each["metadata"]
        for each in plugins
        if each["spec"]["serviceAccountName"] == NODE
        and each["spec"]["nodeName"] != theft.node.name
    )
    bound = (f"--bound-object-name={other['name']}", f"--bound-object-uid={other['uid']}")
    audience = f"--audience={BROKER_AUDIENCE}"
    answer = theft.kubelet(
        "create", "token", NODE, _DRIVER, audience, "--bound-object-kind=Pod", *bound
    )
    assert "bound to a pod scheduled on a different node" in answer
    tokens = "--namespace=oauth2-csi-tokens"
    for user, name in ((theft.alice, "mine"), (theft.bob, "theirs")):
        companion = SourceRef(user.name, name).companion
        assert "Forbidden" in theft.kubelet("get", "secret", companion, tokens)
    plane = theft.cluster.own.plane
    kubeconfig = plane.root / "stolen.kubeconfig"
    write_kubeconfig(kubeconfig, plane.server, plane.ca, theft.plugin_token())
    done = plane.try_kubectl("get", "secrets", tokens, kubeconfig=kubeconfig)
    assert "Unauthorized" in done.stderr
