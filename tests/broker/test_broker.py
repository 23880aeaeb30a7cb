import threading

from tests.broker.conftest import WEB
from tests.broker.fakes import FakeCluster
from tests.broker.running import RunningBroker
from tests.waiting import until


def test_it_serves_once_it_has_a_certificate_and_all_companions(cluster: FakeCluster) -> None:
    running = RunningBroker(cluster)
    pair, running.certificates.served = running.certificates.served, None
    cluster.down = True
    with running:
        listed, certificate = "companions have not been listed yet", "there is no certificate yet"
        assert running.broker.ready() == [certificate, listed]
        cluster.down = False
        assert running.companions.listed.wait(10)
        assert running.broker.ready() == [certificate]
        assert running.server.port == 0
        running.certificates.served = pair
        with running.node() as node:
            node.get(1, WEB)
        assert running.broker.ready() == running.broker.alive() == []


def test_an_outage_of_the_api_server_makes_no_broker_unready(broker: RunningBroker) -> None:
    until(lambda: broker.broker.ready() == [])
    broker.cluster.down = True
    broker.cluster.cut_watches()
    until(lambda: broker.cluster.reads.count("watch") > 1)
    assert broker.broker.ready() == []


def test_it_ends_promptly_with_streams_open(cluster: FakeCluster) -> None:
    with RunningBroker(cluster) as running, running.node() as node:
        node.get(1, WEB)
        running.stop.set()
        assert node.ended().name in {"UNAVAILABLE", "CANCELLED"}
        running._thread.join(10)
        assert not running._thread.is_alive()
    assert not [t for t in threading.enumerate() if t.name.startswith("asyncio_")]
