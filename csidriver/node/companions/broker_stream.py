"""One stream to a broker: what the node sends on it, and the updates that come."""

import queue
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import grpc

from csidriver._proto import broker_pb2, broker_pb2_grpc
from csidriver.clock import Clock
from csidriver.core.sensitive import Sensitive
from csidriver.errors import StoreError, StoreUnavailable
from csidriver.node.companions.broker_address import BrokerAddress


class BrokerStream:
    """Opened by `updates`; `connected` from its admission to its end.

    Every `poll` seconds it sends requests that are to be repeated, and a newer token of the plugin.
    """

    def __init__(self, address: BrokerAddress, target: str, clock: Clock, poll: float) -> None:
        self.target = target
        self.connected = False
        self._address = address
        self._clock = clock
        self._poll = poll
        self._call: Any = None
        self._cancelled = False
        # None ends it.
        self._outgoing: queue.SimpleQueue[broker_pb2.NodeMessage | None] = queue.SimpleQueue()
        self._repetitions: dict[int, tuple[float, broker_pb2.Subscription]] = {}

    def subscribe(self, subscription: broker_pb2.Subscription, after: float = 0.0) -> None:
        """Send a subscription, or do so after some seconds."""
        if after:
            self._repetitions[subscription.id] = self._clock.monotonic() + after, subscription
        else:
            self._outgoing.put(broker_pb2.NodeMessage(subscribe=subscription))

    def unsubscribe(self, number: int) -> None:
        self._repetitions.pop(number, None)
        self._outgoing.put(broker_pb2.NodeMessage(unsubscribe=number))

    def cancel(self) -> None:
        self._cancelled = True
        if self._call is not None:
            self._call.cancel()

    def updates(self) -> Iterator[broker_pb2.Update]:
        """Yield updates; raises StoreUnavailable when the stream has ended."""
        token = self._address.read_token()
        metadata = [("authorization", f"Bearer {token.reveal()}")]
        with self._address.connect(self.target) as channel:
            stub = broker_pb2_grpc.BrokerStub(channel)
            self._call = stub.Subscribe(self._messages(token), metadata=metadata)
            if self._cancelled:
                self._call.cancel()
            try:
                # They come once the broker has admitted us.
                self._call.initial_metadata()
                self.connected = self._call.is_active()
                yield from self._call
            except grpc.RpcError as error:
                raise StoreUnavailable(f"{error.code().name}: {error.details()}") from None
            finally:
                self.connected = False
                self._outgoing.put(None)
        raise StoreUnavailable("the broker ended the stream")

    def _messages(self, token: Sensitive) -> Iterator[broker_pb2.NodeMessage]:
        """Yield what is sent, in a thread of gRPC."""
        while True:
            try:
                message = self._outgoing.get(timeout=self._poll)
            except queue.Empty:
                with suppress(StoreError):
                    if (newest := self._address.read_token()) != token:
                        token = newest
                        yield broker_pb2.NodeMessage(token=token.reveal())
                now = self._clock.monotonic()
                for due, subscription in list(self._repetitions.values()):
                    if due <= now:
                        self._repetitions.pop(subscription.id, None)
                        yield broker_pb2.NodeMessage(subscribe=subscription)
                continue
            if message is None:
                return
            yield message
