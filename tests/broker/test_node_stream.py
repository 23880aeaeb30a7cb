"""What a node gets over its stream, and what it does not get; over real gRPC and TLS."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry

from csidriver._proto import broker_pb2
from csidriver.broker.authorizer import Authorizer
from csidriver.broker.companions import Companions
from csidriver.broker.metrics import BrokerMetrics
from csidriver.broker.node_stream import NodeStream, StreamLimits, StreamTools
from csidriver.broker.stream_server import SERVICE
from csidriver.core.broker.denial import Denied
from csidriver.core.broker.pod_access import PodRef
from csidriver.core.sensitive import Sensitive
from tests.broker.conftest import DB, WEB
from tests.broker.fakes import (
    ACCOUNT,
    NEEDLE,
    FakeCluster,
    companion,
    review,
)
from tests.broker.running import RunningBroker
from tests.leak_detection import LogCollector


def test_pods_that_share_a_companion_get_its_change_in_one_message(broker: RunningBroker) -> None:
    other = broker.cluster.add_pod(PodRef("alice", "other", "u-8"), "node-a", "hello-token")
    with broker.node() as node:
        for number, pod in ((1, WEB), (2, other)):
            node.get(number, pod)
        before = node.messages
        broker.cluster.write(companion(2))
        node.generation(1, 2)
        node.generation(2, 2)
        assert node.messages == before + 1


def test_a_pods_template_comes_once(broker: RunningBroker) -> None:
    broker.cluster.config_maps["alice", "page"] = {"template": "x$(ACCESS_TOKEN)"}
    with broker.node() as node:
        node.subscribe(1, WEB, config_map="page")
        assert node.state(1, "template").text == "x$(ACCESS_TOKEN)"
        del broker.cluster.config_maps["alice", "page"]
        node.subscribe(2, WEB, config_map="page")
        node.state(2, "absent")
        assert broker.metric("subscriptions") == 0


@pytest.mark.parametrize("pod", [DB, WEB, replace(WEB, namespace="../x")], ids=str)
def test_a_denial_says_why_and_ends_no_stream(broker: RunningBroker, pod: PodRef) -> None:
    broker.cluster.config_maps["alice", "other"] = {"template": NEEDLE}
    reason = {DB: "other_node", WEB: "not_in_pod"}.get(pod, "invalid_request")
    with broker.node() as node:
        node.subscribe(1, pod, config_map="other")
        denied = node.state(1, "denied")
        assert (denied.reason, f"({reason})" in denied.message) == (reason, True)
        assert broker.metric("denials_total", reason=reason) == 1
        assert ("cached pod" in broker.cluster.reads) is (reason != "invalid_request")
        node.get(2, WEB)
    assert "config map" not in broker.cluster.reads


def test_a_stream_has_a_bounded_number_of_subscriptions(cluster: FakeCluster) -> None:
    with RunningBroker(cluster, StreamLimits(subscriptions=2)) as broker, broker.node() as node:
        for number in (1, 2, 3):
            node.subscribe(number, WEB, "hello-token")
        assert node.state(3, "denied").reason == "too_many"
        node.subscribe(2, WEB, "hello-token")
        node.send(unsubscribe=1)
        node.get(4, WEB)
        cluster.write(companion(2))
        node.generation(4, 2)
        assert [u.companion.generation for u in node.updates if u.id == 1] == [1]
        assert broker.metric("subscriptions") == 2


def test_a_companion_of_another_namespace_of_this_name_is_withheld(broker: RunningBroker) -> None:
    broker.cluster.write(companion(1, namespace_uid="n-0"))
    broker.catch_up()
    with broker.node() as node:
        node.subscribe(1, WEB, "hello-token")
        assert "another namespace" in node.state(1, "damaged").problem
        broker.cluster.write(companion(1, namespace_uid="n-1"))
        node.generation(1, 1)
        # The namespace is made again, and its new owner logs in; the pod is of before.
        broker.cluster.namespaces["alice"] = "n-9"
        broker.cluster.write(companion(2, namespace_uid="n-9"))
        broker.until(lambda: len(node.updates) == 3)
        assert node.updates[2].HasField("damaged")


def test_during_an_outage_what_runs_goes_on_and_what_is_new_waits(cluster: FakeCluster) -> None:
    limits = StreamLimits(review_every=0.02, recheck_every=0.02)
    with RunningBroker(cluster, limits) as broker, broker.node() as node:
        node.get(1, WEB)
        cluster.down = True
        node.subscribe(2, WEB, "hello-token")
        assert "cannot reach" in node.state(2, "unavailable").message
        cluster.reads.clear()
        broker.until(lambda: min(map(cluster.reads.count, ("pods", "review"))) > 3)
        cluster.down = False
        cluster.write(companion(2))
        node.generation(1, 2)
        node.get(2, WEB, 2)


def test_a_pod_at_which_the_broker_fails_takes_no_token_from_others(
    broker: RunningBroker, logs: LogCollector
) -> None:
    strange = broker.cluster.add_pod(PodRef("alice", "strange", "u-7"), "node-a", "hello-token")
    del broker.cluster.pods[strange]["spec"]
    with broker.node() as node:
        node.subscribe(1, strange, "hello-token")
        assert "internal error" in node.state(1, "unavailable").message
        node.get(2, WEB)
    assert "KeyError" in "\n".join(logs.lines)


def test_the_subscription_of_a_deleted_pod_ends_and_no_other(cluster: FakeCluster) -> None:
    other = cluster.add_pod(PodRef("alice", "other", "u-5"), "node-a", "hello-token")
    with RunningBroker(cluster, StreamLimits(recheck_every=0.05)) as broker, broker.node() as node:
        node.subscribe(1, WEB, "hello-token")
        node.get(2, other)
        # Another pod of its name is another pod.
        del cluster.pods[WEB]
        cluster.add_pod(replace(WEB, uid="u-7"), "node-a", "hello-token")
        assert node.state(1, "denied").reason == "pod_absent"
        cluster.write(companion(2))
        node.generation(2, 2)
        assert all(u.id == 2 for u in node.updates if u.companion.generation == 2)


def test_a_pod_that_is_younger_than_the_list_has_not_ended(cluster: FakeCluster) -> None:
    with RunningBroker(cluster, StreamLimits(recheck_every=0.02)) as broker, broker.node() as node:
        node.get(1, WEB)
        cluster.answer_lists.clear()
        before = cluster.lists_read
        broker.until(lambda: cluster.lists_read > before)
        young = cluster.add_pod(PodRef("alice", "young", "u-6"), "node-a", "hello-token")
        node.get(2, young)
        del cluster.pods[WEB]
        cluster.answer_lists.set()
        node.state(1, "denied")
        cluster.write(companion(2))
        node.generation(2, 2)
        assert not any(u.id == 2 and u.HasField("denied") for u in node.updates)


def test_a_token_that_is_no_longer_accepted_ends_the_stream(cluster: FakeCluster) -> None:
    with RunningBroker(cluster, StreamLimits(review_every=0.02)) as broker, broker.node() as node:
        node.get(1, WEB)
        del cluster.reviews["of-a"]
        assert node.ended().name == "UNAUTHENTICATED"
        assert "token_refused" in node.details
        broker.until(lambda: broker.metric("subscriptions") == 0)


def test_a_newer_token_that_comes_in_an_outage_is_reviewed_after_it(cluster: FakeCluster) -> None:
    """The node sends it once, and the older one expires."""
    with RunningBroker(cluster, StreamLimits(review_every=0.05)) as broker, broker.node() as node:
        node.get(1, WEB)
        cluster.down = True
        cluster.reviews["newer"] = review("node-a")
        node.send(token="newer")
        cluster.reads.clear()
        node.subscribe(2, WEB, "hello-token")
        node.state(2, "unavailable")
        # One follows the message; with a second one, that of the older token has ended.
        broker.until(lambda: cluster.reads.count("review") > 1)
        del cluster.reviews["of-a"]
        cluster.down = False
        broker.until(lambda: "newer" in cluster.reviewed or node.status)
        cluster.write(companion(2))
        node.generation(1, 2)


def test_a_newer_token_must_be_of_the_same_node(broker: RunningBroker) -> None:
    with broker.node() as node:
        node.send(token="of-b")
        assert node.ended().name == "UNAUTHENTICATED"
        assert "other_node_token" in node.details
        assert broker.metric("denials_total", reason="other_node_token") == 1


def test_a_message_that_cannot_be_read_is_denied(broker: RunningBroker, logs: LogCollector) -> None:
    with broker.node() as node:
        call = node.channel.stream_stream(f"/{SERVICE}/Subscribe")
        answers = call(iter([b"\xff\xff"]), metadata=[("authorization", "Bearer of-a")])
        with pytest.raises(grpc.RpcError) as error:
            list(answers)
    assert error.value.code().name == "UNAUTHENTICATED"
    assert error.value.details() == "a message cannot be read (invalid_request)"
    assert broker.metric("denials_total", reason="invalid_request") == 1
    assert not any("Traceback" in line for line in logs.lines)


def test_no_log_has_a_token(broker: RunningBroker, logs: LogCollector) -> None:
    with broker.node() as node:
        node.get(1, WEB)
        node.subscribe(2, DB, "secret-of-b")
        node.state(2, "denied")
        node.send(token="planted-token-of-a-node")
        node.ended()
    text = "\n".join(logs.lines)
    assert "denied node node-a: pod bob/db is not bound to node node-a (other_node)" in text
    assert NEEDLE not in text
    assert "planted-token-of-a-node" not in text


class Deaf:
    """A connection whose node sends requests, and reads no answer."""

    def __init__(self) -> None:
        self.sent = 0

    async def read(self) -> broker_pb2.NodeMessage:
        self.sent += 1
        subscription = broker_pb2.Subscription(id=self.sent, namespace="x" * 1000)
        return broker_pb2.NodeMessage(subscribe=subscription)

    async def write(self, _: bytes) -> None:
        await asyncio.Event().wait()


def test_the_answers_for_a_node_that_reads_none_are_bounded(cluster: FakeCluster) -> None:
    async def run() -> int:
        async def in_thread(call: Callable[..., Any], *args: Any) -> Any:
            await asyncio.sleep(0)
            return call(*args)

        tools = StreamTools(
            Authorizer(cluster, ACCOUNT),
            Companions(cluster),
            BrokerMetrics(CollectorRegistry()),
            in_thread,
            StreamLimits(),
        )
        deaf = Deaf()
        with pytest.raises(Denied, match="does not read its answers"):
            await NodeStream("node-a", Sensitive("of-a"), tools).run(deaf)
        return deaf.sent

    assert asyncio.run(run()) < 120


def test_the_requests_of_a_node_are_paced_over_all_its_streams(cluster: FakeCluster) -> None:
    with RunningBroker(cluster, StreamLimits(burst=6, rate=0.001)) as broker:
        with broker.node() as node:
            for number in range(1, 5):
                node.subscribe(number, WEB, "hello-token")
            node.generation(4, 1)
            node.send(token="of-a")
            broker.until(lambda: cluster.reviewed == ["of-a"] * 2)
        with broker.node() as again, broker.node("of-b") as other:
            for number in range(1, 100):
                again.subscribe(number, WEB, "hello-token")
            again.generation(1, 1)
            cluster.reads.clear()
            assert other.answer(1, DB, "secret-of-b") == "absent"
            assert cluster.reads.count("cached pod") == 1, "only the other node's"
            assert {update.id for update in again.updates} == {1}
