"""What root on a stolen node gets of a broker and of a real API server: its own pods' tokens.

Each attack is denied for its reason, which the thief is told, the log has, and a metric counts.
"""

import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from csidriver.broker.node_stream import StreamLimits
from csidriver.core.broker.pod_access import PodRef
from csidriver.core.names import BROKER, NODE
from tests.broker.fakes import NEEDLE, FakeCluster
from tests.broker.running import RunningBroker
from tests.cluster.controlplane import allowed
from tests.cluster.noderole import DRIVER, TOKENS
from tests.cluster.thief import (
    ALICE,
    AUDIENCE,
    BOB,
    HELLO,
    KUBELET,
    MIRROR,
    OF_B,
    OTHER,
    Thief,
    credential,
    patch_status,
    pod_of,
)
from tests.leak_detection import LogCollector
from tests.waiting import until

pytestmark = pytest.mark.tools("etcd", "kube-apiserver", "kubectl", "helm")

REFUSED = "token_refused"


@pytest.fixture
def broker(thief: Thief) -> Iterator[RunningBroker]:
    # Not 15 minutes, as in a cluster.
    assert StreamLimits().recheck_every == 15 * 60
    limits = StreamLimits(recheck_every=0.3)
    with RunningBroker(FakeCluster(), limits, thief.backend()) as running:
        yield running


@contextmanager
def denial(broker: RunningBroker, logs: LogCollector, reason: str) -> Iterator[None]:
    """Expect one more denial for this reason, counted and logged, and no token anywhere."""

    def logged() -> int:
        return sum(line.startswith("denied ") and f"({reason})" in line for line in logs.lines)

    def counted() -> float:
        return broker.metric("denials_total", reason=reason) or 0.0

    before = logged(), counted()
    yield
    until(lambda: (logged(), counted()) == (before[0] + 1, before[1] + 1))
    assert not any(NEEDLE in line for line in logs.lines)


def test_the_tokens_and_templates_of_its_own_pods_are_obtained_and_no_other_config_map(
    thief: Thief, broker: RunningBroker, logs: LogCollector, stolen: str
) -> None:
    with broker.node(stolen) as node:
        assert node.answer(1, thief.web, HELLO.name) == "companion"
        assert node.updates[0].companion.access_token.startswith(NEEDLE)
        node.subscribe(2, thief.web, config_map="page")
        assert node.state(2, "template").text == "page"
        with denial(broker, logs, "not_in_pod"):
            node.subscribe(3, thief.web, config_map="private")
            assert node.state(3, "denied").reason == "not_in_pod"


def static_pod(thief: Thief) -> PodRef:
    """Return a mirror as older API servers let a kubelet create it: with a volume of ours."""
    return thief.pod(ALICE, "static", "node-a", HELLO.name, account="", annotations=MIRROR)


def plain_static_pod(thief: Thief) -> PodRef:
    """Return a mirror that the kubelet has created, and from which it tries to take the mark."""
    create = ("create", "--filename=-", f"--namespace={ALICE}", "--output=json")
    done = thief.kubelet(*create, stdin=thief.mirror("plain"))
    assert done.returncode == 0, done.stderr
    pod = PodRef(ALICE, "plain", json.loads(done.stdout)["metadata"]["uid"])
    unmarked = {"metadata": {"annotations": dict.fromkeys(MIRROR)}}
    assert patch_status(thief.plane, KUBELET, pod, unmarked) != 200
    return pod


def annotated_pod(thief: Thief) -> PodRef:
    """Return a pod to whose status the kubelet has written what it would like it to be."""
    pod = thief.pod(ALICE, "annotated", "node-a", HELLO.name)
    key, entry = "oauth2-refresh-controller.cern.ch/to-inject", {"secretName": OTHER.name}
    forged = {
        "metadata": {"annotations": {key: json.dumps([entry])}, "uid": pod.uid},
        "spec": {"volumes": pod_of("", "", OTHER.name)["spec"]["volumes"]},
        "status": {"phase": "Running"},
    }
    assert patch_status(thief.plane, KUBELET, pod, forged) == 200
    written = thief.plane.api("GET", f"/api/v1/namespaces/{ALICE}/pods/annotated")
    assert OTHER.name in written["metadata"]["annotations"][key]
    return pod


def replaced_pod(thief: Thief) -> PodRef:
    pod = thief.pod(ALICE, "replaced", "node-a", HELLO.name)
    thief.delete(pod)
    thief.pod(ALICE, "replaced", "node-b", HELLO.name)
    return pod


Claim = tuple[Callable[[Thief], PodRef], str, str]
# What a subscription claims: a pod, and a Secret that it is said to use. Then the reason.
CLAIMS: dict[str, Claim] = {
    "pod of the other node": (lambda thief: thief.of_b, OF_B.name, "other_node"),
    "its name, with a uid of ours": (
        lambda thief: PodRef(BOB, "db", thief.web.uid),
        OF_B.name,
        "pod_replaced",
    ),
    "forged namespace": (lambda thief: PodRef(BOB, "web", thief.web.uid), HELLO.name, "pod_absent"),
    "forged Secret": (lambda thief: thief.web, OTHER.name, "not_in_pod"),
    "log line": (
        lambda thief: PodRef(ALICE, "web", f"{thief.web.uid}\ndenied nobody"),
        HELLO.name,
        "invalid_request",
    ),
    "static pod": (static_pod, HELLO.name, "static_pod"),
    "static pod without its mark": (plain_static_pod, HELLO.name, "static_pod"),
    "annotations through pods/status": (annotated_pod, OTHER.name, "not_in_pod"),
    "deleted pod of a name in use": (replaced_pod, HELLO.name, "pod_replaced"),
}


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS.keys())
def test_a_false_claim_is_denied(
    thief: Thief, broker: RunningBroker, logs: LogCollector, stolen: str, claim: Claim
) -> None:
    make, secret, reason = claim
    pod = make(thief)
    with broker.node(stolen) as node, denial(broker, logs, reason):
        node.subscribe(1, pod, secret)
        denied = node.state(1, "denied")
        assert denied.reason == reason
        assert f"({reason})" in denied.message
        assert "\n" not in denied.message
        assert not any(update.HasField("companion") for update in node.updates)


def test_an_ended_pod_gets_nothing_until_its_kubelet_calls_it_running_again(
    thief: Thief, broker: RunningBroker, logs: LogCollector, stolen: str
) -> None:
    """As docs/security.md says: the API server believes it, and nothing else tells a broker."""
    pod = thief.pod(ALICE, "job", "node-a", HELLO.name)
    assert patch_status(thief.plane, KUBELET, pod, {"status": {"phase": "Succeeded"}}) == 200
    numbers = itertools.count(1)
    with broker.node(stolen) as node, denial(broker, logs, "pod_ended"):
        # A cache that lags for a moment affirms a pod that has just ended.
        until(lambda: node.answer(next(numbers), pod, HELLO.name) == "denied")
        assert node.updates[-1].denied.reason == "pod_ended"
    assert patch_status(thief.plane, KUBELET, pod, {"status": {"phase": "Running"}}) == 200
    with broker.node(stolen) as node:
        until(lambda: node.answer(next(numbers), pod, HELLO.name) == "companion")


def test_the_subscription_of_a_pod_ends_after_it_was_deleted(
    thief: Thief, broker: RunningBroker, logs: LogCollector, stolen: str
) -> None:
    pod = thief.pod(ALICE, "running", "node-a", HELLO.name)
    with broker.node(stolen) as node, denial(broker, logs, "pod_absent"):
        assert node.answer(1, pod, HELLO.name) == "companion"
        assert node.answer(2, thief.web, HELLO.name) == "companion"
        thief.delete(pod)
        assert node.state(1, "denied").reason == "pod_absent"
        thief.write(HELLO, 2)
        node.generation(2, 2)
        assert not any(u.id == 1 and u.companion.generation == 2 for u in node.updates)


def of_an_author(thief: Thief) -> str:
    """Return the token of a pod whose author chose audience and account's name of the plugin."""
    thief.plane.try_kubectl("create", "serviceaccount", NODE, f"--namespace={ALICE}")
    thief.pod(ALICE, "of-author", "node-a", account=NODE)
    return thief.token(AUDIENCE, account=NODE, namespace=ALICE, pod="of-author")


TO_NODE = ("--bound-object-kind=Node", "--bound-object-name=node-a")
TOKENS_SHOWN: dict[str, tuple[Callable[[Thief], str], str]] = {
    # The API server takes it for an anonymous user's.
    "empty": (lambda _: " ", "wrong_account"),
    "nonsense": (lambda _: "nonsense", REFUSED),
    "of the kubelet": (lambda thief: credential(thief.plane, KUBELET), REFUSED),
    "of another audience": (lambda thief: thief.token("--audience=api", pod="plugin-a"), REFUSED),
    "unbound": (lambda thief: thief.token(AUDIENCE), "unbound_token"),
    "bound to a Node": (lambda thief: thief.token(AUDIENCE, *TO_NODE), "unbound_token"),
    "of a pod's author": (of_an_author, "wrong_account"),
    "of another role": (lambda thief: thief.token(AUDIENCE, account=BROKER), "wrong_account"),
}


@pytest.mark.parametrize("shown", TOKENS_SHOWN.values(), ids=TOKENS_SHOWN.keys())
def test_another_token_is_denied(
    thief: Thief,
    broker: RunningBroker,
    logs: LogCollector,
    shown: tuple[Callable[[Thief], str], str],
) -> None:
    make, reason = shown
    token = make(thief)
    with denial(broker, logs, reason), broker.node(token) as node:
        node.subscribe(1, thief.web, HELLO.name)
        assert node.ended().name == "UNAUTHENTICATED"
        assert f"({reason})" in node.details
        assert node.updates == []
    assert not token.strip() or not any(f"denied {token}" in line for line in logs.lines)


def test_the_token_of_a_plugin_that_was_deleted_is_refused(
    thief: Thief, broker: RunningBroker
) -> None:
    old = thief.pod(DRIVER, "plugin-old", "node-a", account=NODE)
    token = thief.token(AUDIENCE, pod="plugin-old")
    thief.delete(old)

    def refused() -> bool:
        with broker.node(token) as node:
            return node.ended().name == "UNAUTHENTICATED" and REFUSED in node.details

    # The API server looks for the pod in a cache, and keeps what it found for seconds.
    until(refused)


NO_RELATIONSHIP = "no relationship found between node 'node-a' and this object"
# Commands with the kubelet's credential, and why the API server refuses them.
COMMANDS = {
    "companion": (f"get secret {OF_B.companion} --namespace={TOKENS}", NO_RELATIONSHIP),
    "companions": (f"get secrets --namespace={TOKENS}", "No Object name found"),
    "ConfigMap": (f"get configmap private --namespace={ALICE}", NO_RELATIONSHIP),
    "pod": (f"get pod db --namespace={BOB}", NO_RELATIONSHIP),
    "broker's token": (
        f"create token {BROKER} {AUDIENCE} --namespace={DRIVER}",
        NO_RELATIONSHIP,
    ),
    "unbound token": (
        f"create token {NODE} {AUDIENCE} --namespace={DRIVER}",
        "node requested token not bound to a pod",
    ),
    "static plugin": (
        f"create --filename=- --namespace={DRIVER}",
        "a mirror pod may not reference service accounts",
    ),
    "impersonation": ("get pods --as=system:node:node-b", "cannot impersonate"),
}


@pytest.mark.parametrize(("command", "why"), COMMANDS.values(), ids=COMMANDS.keys())
def test_the_api_denies_the_kubelet(thief: Thief, command: str, why: str) -> None:
    done = thief.kubelet(*command.split(), stdin=thief.mirror("made-up", NODE))
    assert done.returncode != 0
    assert why in done.stderr
    assert NEEDLE not in done.stdout


def test_the_kubelet_has_its_own_plugin_and_pods_alone(thief: Thief, stolen: str) -> None:
    assert "bound to a pod scheduled on a different node" in thief.plugin_token("b").stderr
    assert "audience" in thief.plugin_token("a", "--audience=api").stderr
    assert patch_status(thief.plane, KUBELET, thief.web, {"status": {"message": "mine"}}) == 200
    assert patch_status(thief.plane, KUBELET, thief.of_b, {"status": {"message": "mine"}}) == 403
    path = f"/api/v1/namespaces/{TOKENS}/secrets"
    assert thief.plane.api("GET", path, token=stolen)["code"] == 401


@pytest.mark.parametrize("namespace", [DRIVER, TOKENS, ALICE, "kube-system"])
def test_nodes_have_no_rights(thief: Thief, namespace: str) -> None:
    """With legacyRights false, a node may do what any service account may."""
    thief.plane.try_kubectl("create", "serviceaccount", "nobody", f"--namespace={DRIVER}")

    def rights(account: str) -> set[tuple[str, str]]:
        return allowed(thief.plane, thief.token(account=account), namespace)

    assert rights(NODE) == rights("nobody")
    assert rights(BROKER) != rights("nobody")
