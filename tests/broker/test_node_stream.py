"""What a node gets over its stream, and what it does not get; over real gRPC and TLS."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from csidriver._proto import broker_pb2
from csidriver.broker.authorizer import Authorizer
from csidriver.broker.companions import Companions
from csidriver.broker.metrics import BrokerMetrics
from csidriver.broker.node_stream import NodeStream, StreamLimits, StreamTools
from csidriver.core.broker.denial import Denied
from csidriver.core.broker.pod_access import PodRef
from csidriver.core.sensitive import Sensitive
from tests.broker.conftest import DB, WEB
from tests.broker.fakes import ACCOUNT, NEEDLE, FakeCluster, companion
from tests.broker.running import RunningBroker
from tests.leak_detection import LogCollector
from tests.waiting import until


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
        until(lambda: len(node.updates) == 3)
        assert node.updates[2].HasField("damaged")


def test_during_an_outage_what_runs_goes_on_and_what_is_new_waits(cluster: FakeCluster) -> None:
    limits = StreamLimits(review_every=0.02, recheck_every=0.02)
    with RunningBroker(cluster, limits) as broker, broker.node() as node:
        node.get(1, WEB)
        cluster.down = True
        node.subscribe(2, WEB, "hello-token")
        assert "cannot reach" in node.state(2, "unavailable").message
        cluster.reads.clear()
        until(lambda: min(map(cluster.reads.count, ("pods", "review"))) > 3)
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


def test_a_subscription_ends_with_its_pod_but_none_of_a_pod_younger_than_the_list(
    cluster: FakeCluster,
) -> None:
    with RunningBroker(cluster, StreamLimits(recheck_every=0.02)) as broker, broker.node() as node:
        node.get(1, WEB)
        cluster.answer_lists.clear()
        before = cluster.lists_read
        until(lambda: cluster.lists_read > before)
        young = cluster.add_pod(PodRef("alice", "young", "u-6"), "node-a", "hello-token")
        node.get(2, young)
        del cluster.pods[WEB]
        cluster.add_pod(replace(WEB, uid="u-7"), "node-a", "hello-token")  # is another pod
        cluster.answer_lists.set()
        assert node.state(1, "denied").reason == "pod_absent"
        cluster.write(companion(2))
        node.generation(2, 2)
        assert not any(u.id == 2 and u.HasField("denied") for u in node.updates)
        assert all(u.id == 2 for u in node.updates if u.companion.generation == 2)


def test_a_token_that_is_no_longer_accepted_ends_the_stream(cluster: FakeCluster) -> None:
    with RunningBroker(cluster, StreamLimits(review_every=0.02)) as broker, broker.node() as node:
        node.get(1, WEB)
        del cluster.reviews["of-a"]
        assert node.ended().name == "UNAUTHENTICATED"
        assert "token_refused" in node.details
        until(lambda: broker.metric("subscriptions") == 0)


def test_no_log_has_a_token_and_that_of_another_node_ends_the_stream(
    broker: RunningBroker, logs: LogCollector
) -> None:
    with broker.node() as node:
        node.get(1, WEB)
        node.subscribe(2, DB, "secret-of-b")
        node.state(2, "denied")
        node.send(token="of-b")  # a newer one must be of the same node
        assert node.ended().name == "UNAUTHENTICATED"
        assert "other_node_token" in node.details
    text = "\n".join(logs.lines)
    assert "denied node node-a: pod bob/db is not bound to node node-a (other_node)" in text
    assert NEEDLE not in text
    assert "of-b" not in text.replace("secret-of-b", "")
    assert broker.metric("denials_total", reason="other_node_token") == 1


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
            until(lambda: cluster.reviewed == ["of-a"] * 2)
        with broker.node() as again, broker.node("of-b") as other:
            for number in range(1, 100):
                again.subscribe(number, WEB, "hello-token")
            again.generation(1, 1)
            cluster.reads.clear()
            assert other.answer(1, DB, "secret-of-b") == "absent"
            assert cluster.reads.count("cached pod") == 1, "only the other node's"
            assert {update.id for update in again.updates} == {1}
