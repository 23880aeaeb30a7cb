"""What 1,000 nodes cost one broker, and how soon all of them have a new token.

Streams, TLS and the broker are real. The nodes are one process, in which each has a connection of
its own. The API server is scripted: it answers over HTTPS with objects of a usual size, as 20,000
real pods would keep etcd and kube-apiserver busy for minutes, on the cores of the broker.
"""

import asyncio
import contextlib
import itertools
import json
import queue
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from multiprocessing.connection import Connection
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import grpc
from grpc import aio

from bench.node import NAMESPACE, SIZES, new_companion
from bench.processes import MEMORY, Child, Program, answer_all, memory_of_imports
from bench.report import Row, shares
from bench.servers import CA_FILE, CERTIFICATE_FILE, HOST, KEY_FILE, JsonHandler, serve_https
from csidriver._proto import broker_pb2
from csidriver.core.broker.pod_access import PodRef
from csidriver.core.names import SourceRef
from csidriver.errors import DriverError
from csidriver.node.companions import broker_address
from csidriver.node.companions.broker_client import ClientPauses
from tests.adapters.oauth.peer import certificate
from tests.broker.fakes import pod_manifest, review
from tests.cluster.kubectl import write_kubeconfig

_NODES, _REFUSED_PER_SECOND = 1000, 100
# The first pod of each node uses the first companion, the others take turns with the others.
_PODS, _SOURCES = 20, tuple(SourceRef(NAMESPACE, f"source-{number}") for number in range(1000))
_PAUSE = 0.5  # seconds before a change, and between two questions
_METHOD = "/oauth2csi.broker.v1.Broker/Subscribe"
_IMPORTS = "csidriver.broker.broker, csidriver.adapters.kubernetes.client"
_FILLER = "x" * 3500  # what the API server says of a pod beside our volume
# The broker with reviews and re-checks at their usual pace from the first second on: streams that
# began together would have their first one minutes later.
_STEADY = """
import random
import sys
from csidriver import cli
from csidriver.broker import node_stream, stream_server

class Steady(node_stream.StreamLimits):
    def __getattribute__(self, name):
        value = super().__getattribute__(name)
        is_pause = name in {"review_every", "recheck_every"}
        return random.expovariate(1 / value) if is_pause else value

stream_server.StreamLimits = Steady
sys.exit(cli.main())
"""


def measure(*, quick: bool) -> Iterator[Row]:
    """Start a broker whose nodes wait for it; change a token, do nothing, be called by others."""
    count, window = (50, 5.0) if quick else (_NODES, 30.0)
    with ExitStack() as stack:
        certificate(MEMORY)
        api = stack.enter_context(Child(serve_api))
        with socket.create_server((HOST, 0)) as free:
            port: int = free.getsockname()[1]
        nodes = stack.enter_context(Child(simulate_nodes, port, count))
        nodes.ask()
        broker = stack.enter_context(_start_broker(port, api.receive()))
        broker.until(lambda: nodes.ask()["answered"] == count * _PODS, 180.0)
        yield Row("broker_all_nodes_s", [time.monotonic() - broker.started], "<= 60")
        command = ["ss", "-Htn", "state", "established", f"sport = :{port}"]
        connections = subprocess.check_output(command, text=True).splitlines()  # noqa: S603
        yield Row("broker_connections", [len(connections)], f">= {count}")
        changes = _change(api, nodes, count)
        yield Row("broker_fanout_p99_s", shares(changes, 0.99), "<= 1")
        cpu = broker.cpu()
        time.sleep(window)
        yield Row("broker_idle_cpu_percent", [100 * (broker.cpu() - cpu) / window], "<= 3")
        yield Row("broker_rss_mib", [broker.memory()], "<= 256", [memory_of_imports(_IMPORTS)])
        nodes.ask("refuse")
        changes = _change(api, nodes, count)
        yield Row("broker_refused_fanout_p99_s", shares(changes, 0.99), "<= 2")


def _start_broker(port: int, api_port: int) -> Program:
    kubeconfig = MEMORY / "kubeconfig"
    write_kubeconfig(kubeconfig, f"https://{HOST}:{api_port}", CA_FILE, "token")
    flags = ["--store=kubernetes", f"--kubeconfig={kubeconfig}", "--listen=127.0.0.1:0"]
    flags += [f"--tls-cert-file={CERTIFICATE_FILE}", f"--tls-key-file={KEY_FILE}"]
    flags += [f"--broker-listen={HOST}:{port}"]
    return Program("broker", [sys.executable, "-P", "-c", _STEADY, "broker", *flags])


def _change(server: Child, nodes: Child, count: int) -> list[list[float]]:
    """Bring five new tokens; return the seconds until each node had each."""
    found, limit = [], time.monotonic() + 90.0
    for _ in range(5):
        time.sleep(_PAUSE)
        generation, began = server.ask()
        while len(times := nodes.ask(generation)["times"]) < count:
            if time.monotonic() > limit:
                raise DriverError(f"{len(times)} of {count} nodes have the new token")
            time.sleep(_PAUSE)
        found.append([at - began for at in times])
    return found


def _source_of(node: int, number: int) -> SourceRef:
    return _SOURCES[1 + (node * _PODS + number) % (len(_SOURCES) - 1) if number else 0]


def pod_of(name: str) -> dict[str, Any]:
    node, number = map(int, name.split("-")[1:])
    ref = PodRef(NAMESPACE, name, f"uid-{name}")
    manifest = pod_manifest(ref, f"node-{node}", _source_of(node, number).name)
    manifest["spec"]["containers"] = [{"name": "main", "image": "main", "args": [_FILLER]}]
    return manifest


class ScriptedApi(JsonHandler):
    """Answers a broker: reviews, pods, namespaces, companions, and the watch of companions."""

    secrets: ClassVar[dict[str, dict[str, Any]]] = {}
    watches: ClassVar[list[queue.SimpleQueue[bytes]]] = []
    version = 0

    @classmethod
    def change(cls, ref: SourceRef) -> tuple[int, float]:
        """Bring a new token; return its generation, and the clock before its event was sent."""
        cls.version += 1
        secret, _ = new_companion(ref, cls.version, f"uid-{NAMESPACE}", SIZES[0])
        manifest = secret.to_manifest()
        manifest["metadata"]["resourceVersion"] = str(cls.version)
        cls.secrets[secret.name] = manifest
        event, now = json.dumps({"type": "MODIFIED", "object": manifest}), time.monotonic()
        for watch in cls.watches:
            watch.put(f"{event}\n".encode())
        return cls.version, now

    def respond(self, body: bytes) -> bytes:
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        if "watch" in query:
            self._watch()
        folder, _, name = url.path.rpartition("/")
        return json.dumps(self._find(folder, name, query, body)).encode()

    def _find(self, folder: str, name: str, query: dict[str, str], body: bytes) -> Any:
        if name == "tokenreviews":
            # The token of a node is its name; others are refused.
            token = json.loads(body)["spec"]["token"]
            return review(token, authenticated=token.startswith("node-"))
        if name == "secrets":
            return self._list(list(self.secrets.values()))
        if name == "pods":
            node = query["fieldSelector"].rpartition("-")[2]
            return self._list([pod_of(f"pod-{node}-{number}") for number in range(_PODS)])
        if folder.endswith("/pods"):
            return pod_of(name)
        return self.secrets.get(name, {"metadata": {"name": name, "uid": f"uid-{name}"}})

    def _list(self, items: list[dict[str, Any]]) -> dict[str, Any]:
        metadata = {"resourceVersion": str(self.version)}
        if "PartialObjectMetadataList" in self.headers["Accept"]:
            kind = "PartialObjectMetadata"
            items = [{"kind": kind, "metadata": item["metadata"]} for item in items]
        return {"kind": "List", "metadata": metadata, "items": items}

    def _watch(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.watches.append(events := queue.SimpleQueue[bytes]())
        while event := events.get():
            self.wfile.write(b"%x\r\n%b\r\n" % (len(event), event))
            self.wfile.flush()


def serve_api(connection: Connection) -> None:
    """Send the port; asked, bring a new token for all nodes."""
    for ref in _SOURCES:
        ScriptedApi.change(ref)
    connection.send(serve_https(ScriptedApi))
    answer_all(connection, lambda _: ScriptedApi.change(_SOURCES[0]))


class SimulatedNodes:
    """All nodes, each with a TLS connection of its own, and what they have received."""

    def __init__(self, port: int) -> None:
        self._target = f"{HOST}:{port}"
        self._credentials = grpc.ssl_channel_credentials(CA_FILE.read_bytes())
        self._answered: set[tuple[int, int]] = set()
        # The clock at which nodes received a generation of the first companion.
        self._received: dict[int, dict[int, float]] = {}

    async def answer(self, connection: Connection, count: int) -> None:
        """Run so many nodes; asked for a generation, send its times, asked to `refuse`, start."""
        running = [asyncio.ensure_future(self._run(number)) for number in range(count)]
        while True:
            question = await asyncio.to_thread(connection.recv)
            if question == "refuse":
                running.append(asyncio.ensure_future(self._call_refused()))
            for task in running:
                if task.done():
                    task.result()
            times = [*self._received.get(question, {}).values()]
            connection.send({"answered": len(self._answered), "times": times})

    async def _run(self, node: int) -> None:
        """Keep a stream open, with the pauses of the real client."""
        while True:
            with contextlib.suppress(aio.AioRpcError):
                async with self._connect() as channel:
                    await self._follow(node, channel)
            await asyncio.sleep(random.uniform(*ClientPauses().alone))  # noqa: S311

    async def _call_refused(self) -> None:
        """Call without end, each time over a new connection with a bad token."""
        calls, began = set(), time.monotonic()

        async def call() -> None:
            async with self._connect() as channel:
                await self._subscribe(channel, "of-nobody").code()

        for made in itertools.count(1):
            calls.add(task := asyncio.ensure_future(call()))
            task.add_done_callback(calls.discard)
            await asyncio.sleep(began + made / _REFUSED_PER_SECOND - time.monotonic())

    def _connect(self) -> aio.Channel:
        options = list(broker_address._OPTIONS.items())  # noqa: SLF001 - those of the real client
        return aio.secure_channel(self._target, self._credentials, options)

    def _subscribe(self, channel: aio.Channel, token: str) -> Any:
        types = broker_pb2.NodeMessage.SerializeToString, broker_pb2.Update.FromString
        method = channel.stream_stream(_METHOD, *types)
        return method(metadata=[("authorization", f"Bearer {token}")])

    async def _follow(self, node: int, channel: aio.Channel) -> None:
        call = self._subscribe(channel, f"node-{node}")
        for number in range(_PODS):
            name, secret = f"pod-{node}-{number}", _source_of(node, number).name
            pod = {"namespace": NAMESPACE, "pod_name": name, "pod_uid": f"uid-{name}"}
            message = broker_pb2.Subscription(id=number + 1, secret=secret, **pod)
            await call.write(broker_pb2.NodeMessage(subscribe=message))
        while isinstance(update := await call.read(), broker_pb2.Update):
            now = time.monotonic()
            if not update.HasField("companion"):
                raise DriverError(f"node {node} got {update}")
            self._answered.update((node, number) for number in (update.id, *update.others))
            if update.id == 1:
                self._received.setdefault(update.companion.generation, {})[node] = now


def simulate_nodes(connection: Connection, port: int, count: int) -> None:
    asyncio.run(SimulatedNodes(port).answer(connection, count))
