"""The node's client beside real brokers that come, fail and go."""

from dataclasses import replace
from pathlib import Path

import pytest

from csidriver.core.broker.pod_access import PodRef
from csidriver.errors import InvalidSecret, StoreRefused, StoreUnavailable
from csidriver.node.companions import broker_client
from tests.broker.conftest import DB, WEB
from tests.broker.fakes import HELLO, FakeCluster, companion
from tests.broker.running import RunningBroker
from tests.node.companions.nodes import ClientNode, States, target
from tests.waiting import until


def connected(brokers: list[RunningBroker]) -> list[float | None]:
    return [broker.metric("streams") for broker in brokers]


def catch_up(brokers: list[RunningBroker]) -> None:
    for broker in brokers:
        broker.catch_up()


def test_the_loss_of_one_broker_costs_nothing(
    node: ClientNode, brokers: list[RunningBroker], cluster: FakeCluster
) -> None:
    _, states = node.follow(WEB, "hello-token")
    until(lambda: [b.metric("subscriptions") for b in brokers] == [1, 1])
    brokers[0].stop.set()
    brokers[0]._thread.join()
    cluster.write(companion(2))
    states.generation(2)
    assert not any(isinstance(state, StoreUnavailable) for state in states.states)
    pod = cluster.add_pod(PodRef("alice", "new", "u-9"), "node-a", "hello-token")
    _, others = node.follow(pod, "hello-token")
    others.generation(2)


def test_after_the_loss_of_all_a_new_broker_is_found(tmp_path: Path, cluster: FakeCluster) -> None:
    cluster.write(companion(1, namespace_uid="n-1"))
    with RunningBroker(cluster) as first:
        node = ClientNode(tmp_path, first)
        _, states = node.follow(WEB, "hello-token")
        node.client.start()
        states.generation(1)
        assert first.metric("streams") == 1, "one broker has one stream"
        node.address.targets.remove(target(first))
    try:
        states.until(lambda s: isinstance(s, StoreUnavailable))
        assert node.client.get_namespace_uid(WEB, "hello-token") == "n-1", "it was compared"
        end, unknown = node.follow(WEB, "hello-token")
        assert isinstance(unknown.states[0], StoreUnavailable), "nobody has to wait for that"
        end()
        with RunningBroker(cluster) as second:
            node.add(second)
            cluster.write(companion(2))
            states.generation(2)
            _, known = node.follow(WEB, "hello-token")
            known.generation(2)
            assert not any(isinstance(state, StoreUnavailable) for state in known.states)
    finally:
        node.client.stop()


def test_what_expires_soonest_is_asked_first(tmp_path: Path, cluster: FakeCluster) -> None:
    node = ClientNode(tmp_path)
    for number, expires_at in enumerate((30.0, 10.0, 20.0), 1):
        pod = PodRef("alice", f"p{number}", f"u-{number}")
        node.follow(cluster.add_pod(pod, "node-a", "hello-token"), "hello-token")
        known = companion(1)
        assert known.token is not None
        known = replace(known, token=replace(known.token, expires_at=expires_at))
        node.client._subscriptions[number].answer = known
    order: list[str] = []
    get_pod = cluster.get_pod

    def record(namespace: str, name: str, *, cached: bool) -> object:
        order.append(name)
        return get_pod(namespace, name, cached=cached)

    cluster.get_pod = record  # type: ignore[method-assign, assignment]
    with RunningBroker(cluster) as broker:
        node.add(broker)
        with node:
            until(lambda: len(order) >= 3)
    assert order[:3] == ["p2", "p3", "p1"]


def test_a_denial_is_an_error_and_is_asked_again(node: ClientNode, cluster: FakeCluster) -> None:
    _, states = node.follow(DB, "secret-of-b")
    error = states.until(lambda s: isinstance(s, StoreRefused))
    assert "(other_node)" in str(error)
    pod = PodRef("alice", "late", "u-8")
    _, late = node.follow(pod, "hello-token")
    late.until(lambda s: isinstance(s, StoreRefused))
    cluster.add_pod(pod, "node-a", "hello-token")
    late.generation(1)


def test_another_pods_refusal_takes_no_token_away(
    node: ClientNode, brokers: list[RunningBroker], cluster: FakeCluster
) -> None:
    source, states = node.client, States()
    end = source.follow(HELLO, WEB, states.receive)
    states.generation(1)
    end_denied = source.follow(HELLO, PodRef("alice", "none", "u-0"), states.receive)
    states.until(lambda state: isinstance(state, StoreRefused))
    cluster.write(companion(2))
    states.generation(2)
    end_denied()
    cluster.write(companion(3))
    states.generation(3)
    end()
    until(lambda: [b.metric("subscriptions") for b in brokers] == [0, 0])


def test_a_broker_that_does_not_answer_is_not_waited_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_client, "READ_SECONDS", 0.05)
    node = ClientNode(tmp_path)
    silent = node.client
    node.follow(WEB, "hello-token")
    assert silent.get_namespace_uid(WEB, "hello-token") is None
    with pytest.raises(StoreUnavailable, match="no broker answered"):
        silent.get_config_map(WEB, "page")


def test_a_publish_waits_for_the_answer_to_the_subscription_of_its_pod(
    node: ClientNode, brokers: list[RunningBroker], cluster: FakeCluster
) -> None:
    def owner(pod: PodRef, name: str) -> str | None:
        end, _ = node.follow(pod, name)
        try:
            return node.client.get_namespace_uid(pod, name)
        finally:
            end()

    until(lambda: connected(brokers) == [1, 1])
    cluster.write(companion(2, namespace_uid="n-1"))
    catch_up(brokers)
    node.follow(WEB, "hello-token")
    assert node.client.get_namespace_uid(WEB, "hello-token") == "n-1"
    until(lambda: [b.metric("subscriptions") for b in brokers] == [1, 1])
    assert cluster.reads.count("cached pod") == len(brokers), "nothing is asked twice"
    with pytest.raises(StoreRefused, match="other_node"):
        owner(DB, "secret-of-b")
    cluster.namespaces["alice"] = "n-9"
    with pytest.raises(InvalidSecret, match="another namespace"):
        owner(WEB, HELLO.name)
    assert node.client.get_namespace_uid(WEB, "hello-token") == "n-1", "a pod stays in its own"
    cluster.delete(HELLO)
    catch_up(brokers)
    assert owner(WEB, HELLO.name) == ""
    cluster.down = True
    assert owner(WEB, HELLO.name) is None
