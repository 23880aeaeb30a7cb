"""Node plugins in one process, each with a TLS connection of its own to a broker.

`python -m bench.simulated_nodes TARGET AUTHORITY NODES` connects until a broker answers, and again
when it ends a stream, with the pauses of the real client. Each line on standard input is a
generation; the answer is a line of JSON: the streams, the subscriptions that have an answer, and
the clocks (monotonic seconds) at which nodes received that generation of the shared companion.
"""

import asyncio
import json
import random
import sys
import time
from pathlib import Path
from typing import Any

import grpc
from grpc import aio

from bench.scripted_objects import NAMESPACE, PODS, pod_name, source_of, uid
from csidriver._proto import broker_pb2
from csidriver.node.companions import broker_address
from csidriver.node.companions.broker_client import ClientPauses

HOST = "localhost"
METHOD = "/oauth2csi.broker.v1.Broker/Subscribe"


class SimulatedNodes:
    """All nodes, and what they have received."""

    def __init__(self, target: str, authority: bytes) -> None:
        self._target = target
        self._credentials = grpc.ssl_channel_credentials(authority)
        self._answered: set[tuple[int, int]] = set()
        self._streams: set[int] = set()
        self._received: dict[int, dict[int, float]] = {}

    def status(self, generation: int) -> dict[str, Any]:
        times = list(self._received.get(generation, {}).values())
        return {"streams": len(self._streams), "answered": len(self._answered), "times": times}

    async def run(self, node: int) -> None:
        """Keep a stream open."""
        while True:
            try:
                async with channel(self._target, self._credentials) as connection:
                    await self._follow(node, connection)
            except aio.AioRpcError:
                pass
            self._streams.discard(node)
            await asyncio.sleep(random.uniform(*ClientPauses().alone))  # noqa: S311

    async def _follow(self, node: int, connection: aio.Channel) -> None:
        call = subscribe(connection, f"node-{node}")
        await call.initial_metadata()
        self._streams.add(node)
        sending = asyncio.ensure_future(self._send(node, call))
        try:
            while isinstance(update := await call.read(), broker_pb2.Update):
                now = time.monotonic()
                if not update.HasField("companion"):
                    raise RuntimeError(f"node {node} got {update}")
                self._answered.update((node, number) for number in (update.id, *update.others))
                if update.id == 1:
                    self._received.setdefault(update.companion.generation, {})[node] = now
        finally:
            sending.cancel()

    async def _send(self, node: int, call: Any) -> None:
        for number in range(PODS):
            name = pod_name(node, number)
            message = broker_pb2.Subscription(
                id=number + 1,
                namespace=NAMESPACE,
                pod_name=name,
                pod_uid=uid(name),
                secret=source_of(node, number).name,
            )
            await call.write(broker_pb2.NodeMessage(subscribe=message))


def channel(target: str, credentials: grpc.ChannelCredentials) -> aio.Channel:
    """Return a connection as the real client has it."""
    options = {**broker_address._OPTIONS, "grpc.ssl_target_name_override": HOST}  # noqa: SLF001
    return aio.secure_channel(target, credentials, list(options.items()))


def subscribe(connection: aio.Channel, token: str) -> Any:
    """Return a stream that presents a token."""
    method = connection.stream_stream(
        METHOD,
        request_serializer=broker_pb2.NodeMessage.SerializeToString,
        response_deserializer=broker_pb2.Update.FromString,
    )
    return method(metadata=[("authorization", f"Bearer {token}")])


async def _main(target: str, authority: bytes, count: int) -> None:
    nodes = SimulatedNodes(target, authority)
    running = [asyncio.ensure_future(nodes.run(number)) for number in range(count)]
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        for task in running:
            if task.done():
                task.result()
        print(json.dumps(nodes.status(int(line))), flush=True)


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], Path(sys.argv[2]).read_bytes(), int(sys.argv[3])))
