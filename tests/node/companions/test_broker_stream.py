"""What a stream sends of its own, beside real brokers."""

from pathlib import Path

from csidriver.broker.node_stream import StreamLimits
from csidriver.errors import StoreUnavailable
from tests.broker.conftest import WEB
from tests.broker.fakes import NEEDLE, FakeCluster, companion, review
from tests.broker.running import RunningBroker
from tests.leak_detection import LogCollector
from tests.node.companions.nodes import ClientNode
from tests.waiting import until


def test_a_token_that_is_refused_is_read_anew_and_not_shown(
    tmp_path: Path, cluster: FakeCluster, logs: LogCollector
) -> None:
    with RunningBroker(cluster) as broker:
        node = ClientNode(tmp_path, broker)
        node.token.write_text("planted-token-of-a-node", encoding="ascii")
        _, states = node.follow(WEB, "hello-token")
        with node:
            error = states.until(lambda s: isinstance(s, StoreUnavailable))
            node.token.write_text("of-a", encoding="ascii")
            states.generation(1)
    text = "\n".join([*logs.lines, repr(error), repr(states.states)])
    assert "UNAUTHENTICATED" in text
    assert "token_refused" in text
    assert "planted-token-of-a-node" not in text
    assert NEEDLE not in text


def test_a_broker_of_another_authority_gets_no_token(tmp_path: Path, cluster: FakeCluster) -> None:
    with RunningBroker(cluster) as broker, RunningBroker(cluster) as real:
        node = ClientNode(tmp_path, broker)
        until(lambda: real.server.port)
        node.authorities.write_text(real.certificates.authority, encoding="ascii")
        _, states = node.follow(WEB, "hello-token")
        with node:
            states.until(lambda s: isinstance(s, StoreUnavailable))
            assert "review" not in cluster.reads
            # The authority is read again for each connection.
            node.authorities.write_text(broker.certificates.authority, encoding="ascii")
            states.generation(1)


def test_a_newer_token_is_sent_on_the_stream(tmp_path: Path, cluster: FakeCluster) -> None:
    with RunningBroker(cluster, StreamLimits(review_every=0.05)) as broker:
        node = ClientNode(tmp_path, broker)
        _, states = node.follow(WEB, "hello-token")
        with node:
            states.generation(1)
            node.token.unlink()
            cluster.reviews["newer"] = review("node-a")
            node.token.write_text("newer", encoding="ascii")
            until(lambda: "newer" in cluster.reviewed)
            del cluster.reviews["of-a"]
            cluster.reviewed.clear()
            until(lambda: len(cluster.reviewed) > 2)
            cluster.write(companion(2))
            states.generation(2)
            assert set(cluster.reviewed) == {"newer"}
