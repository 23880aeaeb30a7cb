"""The node's client beside real brokers that come, fail and go."""

import threading
from pathlib import Path

from csidriver.broker.node_stream import StreamLimits
from csidriver.core.broker.pod_access import PodRef
from csidriver.errors import StoreRefused, StoreUnavailable
from csidriver.node.companions.broker_client import ClientPauses
from tests.broker.conftest import DB, WEB
from tests.broker.fakes import NEEDLE, FakeCluster, companion, review
from tests.broker.running import RunningBroker
from tests.leak_detection import LogCollector
from tests.node.companions.nodes import ClientNode, eventually, target


def connected(brokers: list[RunningBroker]) -> list[float | None]:
    return [broker.metric("streams") for broker in brokers]


def test_a_companion_comes_from_both_brokers(
    node: ClientNode, brokers: list[RunningBroker], cluster: FakeCluster
) -> None:
    eventually(lambda: connected(brokers) == [1, 1])
    _, states = node.subscribe(WEB, "hello-token")
    states.generation(1)
    cluster.write(companion(2, namespace_uid="n-1"))
    token = states.generation(2).token
    assert token is not None
    assert token.value.reveal() == f"{NEEDLE}-2"
    eventually(
        lambda: [s == companion(2, namespace_uid="n-1") for s in states.states].count(True) == 2
    )


def test_what_was_subscribed_before_the_first_connection_is_served(
    tmp_path: Path, cluster: FakeCluster
) -> None:
    node = ClientNode(tmp_path)
    _, states = node.subscribe(WEB, "hello-token")
    with node, RunningBroker(cluster) as broker:
        error = states.until(lambda s: isinstance(s, StoreUnavailable))
        assert "no broker of brokers answers" in str(error)
        node.add(broker)
        states.generation(1)
        assert broker.metric("streams") == 1, "one broker has one stream"


def test_the_loss_of_one_broker_costs_nothing(
    node: ClientNode, brokers: list[RunningBroker], cluster: FakeCluster
) -> None:
    _, states = node.subscribe(WEB, "hello-token")
    eventually(lambda: [b.metric("subscriptions") for b in brokers] == [1, 1])
    brokers[0].stop.set()
    brokers[0]._thread.join()
    cluster.write(companion(2))
    states.generation(2)
    assert not any(isinstance(state, StoreUnavailable) for state in states.states)
    pod = cluster.add_pod(PodRef("alice", "new", "u-9"), "node-a", "hello-token")
    _, others = node.subscribe(pod, "hello-token")
    others.generation(2)


def test_after_the_loss_of_all_a_new_broker_is_found(tmp_path: Path, cluster: FakeCluster) -> None:
    with RunningBroker(cluster) as first:
        node = ClientNode(tmp_path, first)
        _, states = node.subscribe(WEB, "hello-token")
        node.client.start()
        states.generation(1)
        node.address.targets.remove(target(first))
    try:
        states.until(lambda s: isinstance(s, StoreUnavailable))
        late, unknown = node.subscribe(WEB, "hello-token")
        assert isinstance(unknown.states[0], StoreUnavailable), "nobody has to wait for that"
        node.client.unsubscribe(late)
        with RunningBroker(cluster) as second:
            node.add(second)
            cluster.write(companion(2))
            states.generation(2)
            _, known = node.subscribe(WEB, "hello-token")
            known.generation(2)
            assert not any(isinstance(state, StoreUnavailable) for state in known.states)
    finally:
        node.client.stop()


def test_what_expires_soonest_is_asked_first(tmp_path: Path, cluster: FakeCluster) -> None:
    pods = [
        cluster.add_pod(PodRef("alice", f"p{n}", f"u-{n}"), "node-a", "hello-token") for n in "123"
    ]
    with RunningBroker(cluster) as first:
        node = ClientNode(tmp_path, first)
        subscribed = [node.subscribe(pod, "hello-token") for pod in pods]
        node.client.start()
        for _, states in subscribed:
            states.generation(1)
        node.address.targets.remove(target(first))
    try:
        for (number, _), expires_at in zip(subscribed, (30.0, 10.0, 20.0), strict=True):
            node.client._subscriptions[number].expires_at = expires_at
        order: list[str] = []
        get_pod = cluster.get_pod

        def record(namespace: str, name: str, *, cached: bool) -> object:
            order.append(name)
            return get_pod(namespace, name, cached=cached)

        cluster.get_pod = record  # type: ignore[method-assign, assignment]
        with RunningBroker(cluster) as second:
            node.add(second)
            eventually(lambda: len(order) >= 3)
        assert order[:3] == ["p2", "p3", "p1"]
    finally:
        node.client.stop()


def test_nothing_comes_after_unsubscribing(
    node: ClientNode, brokers: list[RunningBroker], cluster: FakeCluster
) -> None:
    number, states = node.subscribe(WEB, "hello-token")
    states.generation(1)
    node.client.unsubscribe(number)
    node.client.unsubscribe(number)
    eventually(lambda: [b.metric("subscriptions") for b in brokers] == [0, 0])
    cluster.write(companion(2))
    _, others = node.subscribe(WEB, "hello-token")
    others.generation(2)
    assert all(state == companion(1) for state in states.states)


def test_a_denial_is_an_error_and_is_asked_again(node: ClientNode, cluster: FakeCluster) -> None:
    _, states = node.subscribe(DB, "secret-of-b")
    error = states.until(lambda s: isinstance(s, StoreRefused))
    assert "(other_node)" in str(error)
    pod = PodRef("alice", "late", "u-8")
    _, late = node.subscribe(pod, "hello-token")
    late.until(lambda s: isinstance(s, StoreRefused))
    cluster.add_pod(pod, "node-a", "hello-token")
    late.generation(1)


def test_an_outage_of_the_api_server_is_waited_out(
    node: ClientNode, brokers: list[RunningBroker], cluster: FakeCluster
) -> None:
    _, running = node.subscribe(WEB, "hello-token")
    eventually(lambda: [b.metric("subscriptions") for b in brokers] == [1, 1])
    cluster.down = True
    _, states = node.subscribe(WEB, "hello-token")
    states.until(lambda s: isinstance(s, StoreUnavailable))
    cluster.down = False
    states.generation(1)
    assert not any(isinstance(state, StoreUnavailable) for state in running.states)


def test_a_template_is_read(node: ClientNode, cluster: FakeCluster) -> None:
    cluster.config_maps["alice", "page"] = {"template": "x"}
    _, states = node.subscribe(WEB, config_map="page")
    states.until(lambda s: s == {"template": "x"})


def test_a_token_that_is_refused_is_read_anew(tmp_path: Path, cluster: FakeCluster) -> None:
    with RunningBroker(cluster) as broker:
        node = ClientNode(tmp_path, broker)
        node.token.write_text("expired", encoding="ascii")
        _, states = node.subscribe(WEB, "hello-token")
        with node:
            error = states.until(lambda s: isinstance(s, StoreUnavailable))
            assert "UNAUTHENTICATED" in str(error)
            assert "token_refused" in str(error)
            cluster.reviews["newer"] = review("node-a")
            node.token.write_text("newer", encoding="ascii")
            states.generation(1)


def test_a_broker_of_another_authority_gets_no_token(tmp_path: Path, cluster: FakeCluster) -> None:
    with RunningBroker(cluster) as broker, RunningBroker(cluster) as real:
        node = ClientNode(tmp_path, broker)
        real.until(lambda: real.server.port)
        node.authorities.write_text(real.certificates.authority, encoding="ascii")
        _, states = node.subscribe(WEB, "hello-token")
        with node:
            states.until(lambda s: isinstance(s, StoreUnavailable))
            assert "review" not in cluster.reads
            # The authority is read again for each connection.
            node.authorities.write_text(broker.certificates.authority, encoding="ascii")
            states.generation(1)


def test_it_stops_at_once_in_the_middle_of_a_pause(tmp_path: Path) -> None:
    node = ClientNode(tmp_path, pauses=ClientPauses(alone=(60.0, 60.0)))
    _, states = node.subscribe(WEB, "hello-token")
    with node:
        states.until(lambda s: isinstance(s, StoreUnavailable))
    assert not [t for t in threading.enumerate() if t.name == "broker"]


def test_no_log_and_no_error_has_a_token(
    tmp_path: Path, cluster: FakeCluster, logs: LogCollector
) -> None:
    with RunningBroker(cluster) as broker:
        node = ClientNode(tmp_path, broker)
        node.token.write_text("planted-token-of-a-node", encoding="ascii")
        _, states = node.subscribe(WEB, "hello-token")
        with node:
            error = states.until(lambda s: isinstance(s, StoreUnavailable))
            node.token.write_text("of-a", encoding="ascii")
            states.generation(1)
    text = "\n".join([*logs.lines, repr(error), repr(states.states)])
    assert "UNAUTHENTICATED" in text
    assert "planted-token-of-a-node" not in text
    assert NEEDLE not in text


def test_a_newer_token_is_sent_on_the_stream(tmp_path: Path, cluster: FakeCluster) -> None:
    with RunningBroker(cluster, StreamLimits(review_every=0.05)) as broker:
        node = ClientNode(tmp_path, broker)
        _, states = node.subscribe(WEB, "hello-token")
        with node:
            states.generation(1)
            node.token.unlink()
            cluster.reviews["newer"] = review("node-a")
            node.token.write_text("newer", encoding="ascii")
            eventually(lambda: "newer" in cluster.reviewed)
            del cluster.reviews["of-a"]
            cluster.reviewed.clear()
            eventually(lambda: len(cluster.reviewed) > 2)
            cluster.write(companion(2))
            states.generation(2)
            assert set(cluster.reviewed) == {"newer"}


def test_connections_end_after_a_while_and_nothing_is_missed(
    tmp_path: Path, cluster: FakeCluster
) -> None:
    limits = StreamLimits(connection_age=0.1)
    with (
        RunningBroker(cluster, limits) as one,
        RunningBroker(cluster, limits) as other,
        ClientNode(tmp_path, one, other) as node,
    ):
        _, states = node.subscribe(WEB, "hello-token")
        states.generation(1)
        for generation in range(2, 7):
            accepted = one.metric("reviews_total", result="accepted") or 0.0
            cluster.write(companion(generation))
            states.generation(generation)
            if generation % 3 == 0:
                eventually(
                    lambda: (one.metric("reviews_total", result="accepted") or 0.0) > accepted  # noqa: B023
                )
