"""A broker on TLS in this process, and nodes that speak gRPC to it."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

import grpc
from prometheus_client import CollectorRegistry

from csidriver._proto import broker_pb2, broker_pb2_grpc
from csidriver.adapters.kubernetes import BrokerBackend
from csidriver.broker.authorizer import Authorizer
from csidriver.broker.broker import Broker
from csidriver.broker.companions import Companions
from csidriver.broker.metrics import BrokerMetrics
from csidriver.broker.node_stream import StreamLimits
from csidriver.broker.stream_server import StreamServer
from csidriver.core.broker.pod_access import PodRef
from csidriver.core.sensitive import Sensitive
from csidriver.listener import host_and_port
from csidriver.webhook.x509 import CertificateFactory
from tests.broker.fakes import ACCOUNT, FakeCluster
from tests.waiting import until

PATIENCE = 10.0  # seconds; only a defect waits for it
HOST = "oauth2-csi-broker.oauth2-csi.svc"
PKI = CertificateFactory()


class FakeCertificates:
    """An authority, and the certificate that is served."""

    def __init__(self) -> None:
        self.served: tuple[str, Sensitive] | None = None
        self.authority = ""
        self.renew()

    def renew(self) -> None:
        now = time.time()
        ca, ca_key = PKI.new_authority(now, 3600)
        serving, key = PKI.issue_serving_certificate(ca, ca_key, {HOST}, now, 3600)
        self.authority, self.served = ca.pem, (serving.pem, key)

    def pair(self) -> tuple[str, Sensitive] | None:
        return self.served

    def problems(self) -> list[str]:
        return [] if self.served else ["there is no certificate yet"]

    def run(self, stop: threading.Event) -> None:
        stop.wait()


class NodeClient:
    """A node plugin's side of one stream. `status` is how it ended."""

    def __init__(self, port: int, authority: str, token: str, host: str = "127.0.0.1") -> None:
        # One for each subscription of each of the `messages`.
        self.updates: list[broker_pb2.Update] = []
        self.messages = 0
        self.status: grpc.StatusCode | None = None
        self.details = ""
        self._requests: queue.Queue[broker_pb2.NodeMessage | None] = queue.Queue()
        self._changed = threading.Condition()
        credentials = grpc.ssl_channel_credentials(authority.encode())
        options = [("grpc.ssl_target_name_override", HOST), ("grpc.use_local_subchannel_pool", 1)]
        self.channel = grpc.secure_channel(host_and_port((host, port)), credentials, options)
        sent = [("authorization", f"Bearer {token}")] if token else []
        self._call = broker_pb2_grpc.BrokerStub(self.channel).Subscribe(
            iter(self._requests.get, None), metadata=sent
        )
        self._thread = threading.Thread(target=self._receive, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._requests.put(None)
        self._call.cancel()
        self.channel.close()
        self._thread.join(PATIENCE)

    def subscribe(self, number: int, pod: PodRef, secret: str = "", config_map: str = "") -> None:
        message = broker_pb2.Subscription(
            id=number, namespace=pod.namespace, pod_name=pod.name, pod_uid=pod.uid
        )
        if config_map:
            message.config_map = config_map
        else:
            message.secret = secret
        self.send(subscribe=message)

    def get(self, number: int, pod: PodRef, generation: int = 1) -> broker_pb2.Companion:
        """Subscribe to the token of Secret hello-token, and wait for it."""
        self.subscribe(number, pod, "hello-token")
        return self.generation(number, generation)

    def answer(self, number: int, pod: PodRef, secret: str) -> str | None:
        """Subscribe, and return the kind of the first state."""
        self.subscribe(number, pod, secret)
        kind: str | None = self.wait_for(lambda u: u.id == number).WhichOneof("state")
        return kind

    def send(self, **message: Any) -> None:
        self._requests.put(broker_pb2.NodeMessage(**message))

    def end(self) -> None:
        self._requests.put(None)

    def wait_for(self, true: Callable[[broker_pb2.Update], object]) -> broker_pb2.Update:
        with self._changed:
            result = self._changed.wait_for(
                lambda: next(filter(true, self.updates), None), PATIENCE
            )
        assert result is not None, (self.updates, self.status, self.details)
        return result

    def state(self, number: int, kind: str) -> Any:
        update = self.wait_for(lambda u: u.id == number and u.WhichOneof("state") == kind)
        return getattr(update, kind)

    def generation(self, number: int, generation: int) -> broker_pb2.Companion:
        return self.wait_for(
            lambda u: u.id == number and u.companion.generation == generation
        ).companion

    def ended(self) -> grpc.StatusCode:
        with self._changed:
            assert self._changed.wait_for(lambda: self.status is not None, PATIENCE)
        assert self.status is not None
        return self.status

    def _receive(self) -> None:
        try:
            for update in self._call:
                with self._changed:
                    self.messages += 1
                    for number in (update.id, *update.others):
                        each = broker_pb2.Update()
                        each.CopyFrom(update)
                        each.id = number
                        self.updates.append(each)
                    self._changed.notify_all()
        except grpc.RpcError:
            pass
        with self._changed:
            self.status, self.details = self._call.code(), self._call.details() or ""
            self._changed.notify_all()


class RunningBroker:
    """A broker that serves, its cluster, and its metrics. A `backend` takes the cluster's place."""

    def __init__(
        self,
        cluster: FakeCluster,
        limits: StreamLimits | None = None,
        backend: BrokerBackend | None = None,
    ) -> None:
        self.cluster = cluster
        store = backend or cluster
        self.certificates = FakeCertificates()
        self.registry = CollectorRegistry()
        self.companions = Companions(store, pause=lambda _: 0.01)
        self.server = StreamServer(
            ("127.0.0.1", 0),
            self.certificates,
            Authorizer(store, ACCOUNT),
            self.companions,
            BrokerMetrics(self.registry),
            limits,
        )
        self.broker = Broker(self.certificates, self.companions, self.server)
        self.stop = threading.Event()
        self._thread = threading.Thread(target=self.broker.run, args=(self.stop,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self._thread.join()

    @contextmanager
    def node(self, who: str = "of-a") -> Iterator[NodeClient]:
        until(lambda: self.server.port)
        with NodeClient(self.server.port, self.certificates.authority, who) as client:
            yield client

    def metric(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"oauth2_csi_broker_{name}", labels)

    def catch_up(self) -> None:
        """Wait until it knows the companions of the cluster as they are now."""
        states, versions = self.companions._states, self.cluster.versions()
        until(lambda: {name: s.version for name, s in states.copy().items()} == versions)
