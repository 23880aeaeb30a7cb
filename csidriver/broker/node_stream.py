"""One stream of a node: its subscriptions, and the checks that go on while it is open."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from csidriver._proto import broker_pb2
from csidriver.broker import updates
from csidriver.broker.authorizer import Authorizer
from csidriver.broker.companions import Companions
from csidriver.broker.metrics import BrokerMetrics
from csidriver.core.broker.denial import Denial, Denied
from csidriver.core.broker.pod_access import AccessRequest, PodRef
from csidriver.core.names import SourceRef
from csidriver.core.sensitive import Sensitive
from csidriver.errors import StoreError

log = logging.getLogger(__name__)

# Answers that a node may leave unread besides the states of its subscriptions.
_UNREAD = 100


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """Times in seconds, and the most subscriptions of a stream. A node has 1,000 volumes.

    A node may send `burst` messages at once, and `rate` a second in the long run.
    """

    review_every: float = 600.0
    recheck_every: float = 900.0
    subscriptions: int = 2000
    burst: int = 4000
    rate: float = 50.0
    # gRPC adds or takes up to 10 % at random. Nodes spread again over brokers.
    connection_age: float = 1800.0
    # Until a connection without a stream is closed.
    unused: float = 10.0


@dataclass(frozen=True, slots=True)
class StreamTools:
    """The parts that all streams share."""

    authorizer: Authorizer
    companions: Companions
    metrics: BrokerMetrics
    # Runs a call that blocks.
    in_thread: Callable[..., Awaitable[Any]]
    limits: StreamLimits
    # When each node has had its turn for the messages that it sent.
    turns: dict[str, float] = field(default_factory=dict)


class NodeStream:
    """`run` lasts until the node or `end` ends it; raises Denied for a token that is refused."""

    def __init__(self, node: str, token: Sensitive, tools: StreamTools) -> None:
        self.node = node
        self._token = token
        self._tools = tools
        self._ended = asyncio.Event()
        # The pod of each subscription, and how to end it.
        self._subscriptions: dict[int, tuple[PodRef, Callable[[], None]]] = {}
        # The newest update of each that waits to be sent: who reads slowly gets fewer.
        self._waiting: dict[int, bytes] = {}
        self._filled = asyncio.Event()

    def end(self) -> None:
        self._ended.set()

    async def run(self, connection: Any) -> None:
        """Serve on gRPC's side of the stream."""
        parts = (self._read(connection), self._write(connection), self._review(), self._recheck())
        tasks = [asyncio.ensure_future(part) for part in (*parts, self._ended.wait())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for subscription in list(self._subscriptions):
                self._unsubscribe(subscription)

    async def _read(self, connection: Any) -> None:
        while isinstance(message := await connection.read(), broker_pb2.NodeMessage):
            await self._take_turn()
            kind = message.WhichOneof("message")
            if kind == "subscribe":
                await self._answer(message.subscribe)
            elif kind == "unsubscribe":
                self._unsubscribe(message.unsubscribe)
            elif kind == "token":
                # It comes once: without an answer now, it is the one that is reviewed next.
                self._token = Sensitive(message.token)
                await self._review_token()

    async def _take_turn(self) -> None:
        """Wait until the node may have a message handled, over whichever stream it came."""
        limits, turns = self._tools.limits, self._tools.turns
        now = asyncio.get_running_loop().time()
        earliest = now - limits.burst / limits.rate
        turn = turns[self.node] = max(turns.get(self.node, 0.0), earliest) + 1 / limits.rate
        if turn > now:
            await asyncio.sleep(turn - now)

    async def _write(self, connection: Any) -> None:
        while await self._filled.wait():
            self._filled.clear()
            while self._waiting:
                payload = next(iter(self._waiting.values()))
                # Once for all pods that share a companion.
                first, *others = [n for n, state in self._waiting.items() if state is payload]
                for number in (first, *others):
                    del self._waiting[number]
                await connection.write(updates.addressed(first, payload, others))
                self._tools.metrics.updates.inc()

    def _send(self, number: int, payload: bytes) -> None:
        self._waiting[number] = payload
        self._filled.set()

    async def _answer(self, message: broker_pb2.Subscription) -> None:
        pod = PodRef(message.namespace, message.pod_name, message.pod_uid)
        is_template = message.WhichOneof("object") == "config_map"
        name = message.config_map if is_template else message.secret
        if len(self._waiting) > len(self._subscriptions) + _UNREAD:
            raise Denied(Denial.TOO_MANY, f"node {self.node} does not read its answers")
        self._unsubscribe(message.id)
        try:
            await self._subscribe(message.id, AccessRequest(pod, name, is_template))
        except Denied as denied:
            self._deny(message.id, denied)
        except StoreError as error:
            self._send(message.id, updates.unavailable(str(error)))
        except Exception:
            # The stream serves other pods, too.
            log.exception("a request of node %s failed", self.node)
            text = "internal error of the broker; its log has the details"
            self._send(message.id, updates.unavailable(text))

    async def _subscribe(self, number: int, request: AccessRequest) -> None:
        tools = self._tools
        if len(self._subscriptions) >= tools.limits.subscriptions:
            raise Denied(Denial.TOO_MANY, "the stream has too many subscriptions")
        uid = await tools.in_thread(tools.authorizer.authorize, request, self.node)
        if request.is_template:
            data = await tools.in_thread(tools.authorizer.read_config_map, request)
            self._send(number, updates.template(data))
            return

        def offer(state: updates.CompanionState) -> None:
            is_ours = state.namespace_uid in {"", uid}
            self._send(number, state.payload if is_ours else updates.OF_OTHER_NAMESPACE)

        companion = SourceRef(request.pod.namespace, request.name).companion
        self._subscriptions[number] = request.pod, tools.companions.follow(companion, offer)
        tools.metrics.subscriptions.inc()

    def _unsubscribe(self, number: int) -> None:
        self._waiting.pop(number, None)
        if number in self._subscriptions:
            _, end = self._subscriptions.pop(number)
            end()
            self._tools.metrics.subscriptions.dec()

    def _deny(self, number: int, denied: Denied) -> None:
        log.warning("denied node %s: %s", self.node, denied)
        self._tools.metrics.denials.labels(denied.reason.value).inc()
        self._send(number, updates.denied(denied))

    async def _review_token(self) -> None:
        """Raise Denied unless the token is good, or nobody can tell."""
        try:
            node = await self._tools.in_thread(self._tools.authorizer.node_of_token, self._token)
        except StoreError as error:
            log.warning("cannot review the token of node %s: %s", self.node, error)
            return
        if node != self.node:
            raise Denied(Denial.OTHER_NODE_TOKEN, f"the newer token is of node {node}")

    async def _review(self) -> None:
        while True:
            await asyncio.sleep(_spread(self._tools.limits.review_every))
            await self._review_token()

    async def _recheck(self) -> None:
        tools = self._tools
        while True:
            await asyncio.sleep(_spread(tools.limits.recheck_every))
            # Before the list: a pod that is subscribed meanwhile may be younger than it.
            followed = frozenset(pod for pod, _ in self._subscriptions.values())
            try:
                ended = await tools.in_thread(tools.authorizer.ended_pods, followed, self.node)
            except StoreError as error:
                log.warning("cannot list the pods of node %s: %s", self.node, error)
                continue
            for number, (pod, _) in list(self._subscriptions.items()):
                if pod not in ended:
                    continue
                self._unsubscribe(number)
                self._deny(number, Denied(Denial.POD_ABSENT, f"pod {pod} does not exist any more"))


def _spread(seconds: float) -> float:
    """Return 80 to 100 % of a time, so that streams that began together do not act together."""
    return seconds * random.uniform(0.8, 1.0)  # noqa: S311 - nothing depends on its secrecy
