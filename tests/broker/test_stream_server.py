import socket
import ssl
import threading
from contextlib import ExitStack

import pytest

from csidriver.broker import stream_server
from csidriver.broker.node_stream import StreamLimits
from csidriver.core.broker.pod_access import PodRef
from csidriver.core.names import SourceRef
from tests.broker.conftest import WEB
from tests.broker.fakes import FakeCluster, companion, review
from tests.broker.running import HOST, NodeClient, RunningBroker
from tests.waiting import until

EMPTY_SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])


@pytest.mark.parametrize(
    ("token", "reason"), [("", "token_refused"), ("of-another-audience", "wrong_audience")]
)
def test_a_caller_who_is_no_node_plugin_is_sent_away(
    broker: RunningBroker, token: str, reason: str
) -> None:
    broker.cluster.reviews["of-another-audience"] = review("node-a", audiences=["api"])
    with broker.node(token) as node:
        node.subscribe(1, WEB, "hello-token")
        assert node.ended().name == "UNAUTHENTICATED"
        assert reason in node.details
        assert node.updates == []
    assert broker.metric("denials_total", reason=reason) == 1
    assert broker.metric("streams") == 0


def test_a_review_that_fails_is_no_denial(broker: RunningBroker) -> None:
    until(lambda: broker.server.port)
    broker.cluster.down = True
    with broker.node() as node:
        assert node.ended().name == "UNAVAILABLE"
    assert broker.metric("reviews_total", result="failed") == 1
    broker.cluster.down = False
    with broker.node() as node:
        node.get(1, WEB)
    assert broker.metric("reviews_total", result="accepted") == 1


def test_one_who_leaves_keeps_his_place_until_he_is_reviewed(
    broker: RunningBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else he comes again, and the API server reviews any number of tokens at a time."""
    monkeypatch.setattr(stream_server, "_MAX_WAITING", 20)
    broker.cluster.answer_reviews.clear()
    for number in range(20):
        with broker.node(f"forged-{number}"):
            until(lambda n=number: broker.server._waiting > n)  # type: ignore[misc]
    with broker.node() as node:
        assert node.ended().name == "UNAVAILABLE"
        assert node.details == "too many callers wait"
    assert len(broker.cluster.reviewed) <= 4
    broker.cluster.answer_reviews.set()
    until(lambda: broker.metric("reviews_total", result="denied") == 20)
    with broker.node() as node:
        node.get(1, WEB)


def test_a_connection_without_a_stream_is_closed(cluster: FakeCluster) -> None:
    # Long enough for the handshakes of the node and of a stranger.
    with RunningBroker(cluster, StreamLimits(unused=2.0)) as broker, broker.node() as node:
        node.get(1, WEB)
        context = ssl.create_default_context(cadata=broker.certificates.authority)
        context.set_alpn_protocols(["h2"])
        # Not as long as until the server's first ping.
        with (
            socket.create_connection(("127.0.0.1", broker.server.port), 8) as silent,
            socket.create_connection(("127.0.0.1", broker.server.port), 8) as plain,
            context.wrap_socket(plain, server_hostname=HOST) as stranger,
        ):
            stranger.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + EMPTY_SETTINGS)
            while stranger.recv(1000):
                pass
            assert silent.recv(1000) == b""
        broker.cluster.write(companion(2))
        node.generation(1, 2)


def test_the_newest_two_streams_of_a_node_stay(broker: RunningBroker) -> None:
    """One that leaves is forgotten, too."""
    with ExitStack() as stack:
        clients = [stack.enter_context(broker.node("of-b"))]
        for _ in range(3):
            client = stack.enter_context(broker.node())
            client.get(1, WEB)
            clients.append(client)
        oldest = clients[1]
        assert oldest.ended().name == "OK"
        until(lambda: broker.metric("streams") == 3)
        broker.cluster.write(companion(2))
        for client in clients[2:]:
            client.generation(1, 2)
            client.end()
            assert client.ended().name == "OK"
    until(lambda: broker.server._streams == {})
    assert broker.metric("streams") == broker.metric("subscriptions") == 0


def test_a_node_that_does_not_read_gets_the_newest_state_only(broker: RunningBroker) -> None:
    """Its connection takes some kilobytes; 100 states of 30 KiB do not wait in our memory."""
    large = SourceRef("alice", "large")
    pod = broker.cluster.add_pod(PodRef("alice", "l", "u-9"), "node-a", "large")
    with broker.node() as quick, broker.node() as slow:
        reading = threading.Event()
        receive = slow._call._next
        slow._call._next = lambda: (reading.wait(), receive())[1]
        for client in (quick, slow):
            client.subscribe(1, pod, "large")
        quick.state(1, "absent")
        until(lambda: broker.metric("subscriptions") == 2)
        for generation in range(1, 101):
            broker.cluster.write(companion(generation, large, "x" * 30_000))
        quick.generation(1, 100)
        reading.set()
        slow.generation(1, 100)
        assert len(slow.updates) < 60


def test_a_new_certificate_is_served_to_new_connections(broker: RunningBroker) -> None:
    with broker.node() as before:
        before.get(1, WEB)
        old = broker.certificates.authority
        broker.certificates.renew()
        with broker.node() as after:
            after.get(1, WEB)
        with NodeClient(broker.server.port, old, "of-a") as stranger:
            assert stranger.ended().name == "UNAVAILABLE"
        broker.cluster.write(companion(2))
        before.generation(1, 2)
