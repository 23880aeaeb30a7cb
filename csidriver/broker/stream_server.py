"""The gRPC server of the broker, on TLS: admits node plugins, and keeps two streams of each."""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import grpc
from google.protobuf.message import DecodeError
from grpc import aio

from csidriver._proto import broker_pb2
from csidriver.broker.authorizer import Authorizer
from csidriver.broker.companions import Companions
from csidriver.broker.metrics import BrokerMetrics
from csidriver.broker.node_stream import NodeStream, StreamLimits, StreamTools
from csidriver.core.broker.denial import Denial, Denied
from csidriver.core.sensitive import Sensitive
from csidriver.errors import DriverError, StoreError
from csidriver.listener import host_and_port

log = logging.getLogger(__name__)

SERVICE = "oauth2csi.broker.v1.Broker"
_BEARER = "Bearer "
# One on each broker, and one that the network has cut and nobody has noticed yet.
_STREAMS_PER_NODE = 2
# Requests to the API server at a time; of them those for callers who are not yet known.
_THREADS, _ADMISSIONS = 8, 4
# Callers who wait to be admitted; more are sent away.
_MAX_WAITING = 1000
# A subscription has names, a message a token.
_MAX_MESSAGE = 1 << 16
_OPTIONS = {
    "grpc.so_reuseport": 0,
    "grpc.max_receive_message_length": _MAX_MESSAGE,
    "grpc.max_concurrent_streams": 4,
    "grpc.max_connection_age_grace_ms": 1_000,
    # A host that has vanished is noticed within 15 seconds.
    "grpc.keepalive_time_ms": 10_000,
    "grpc.keepalive_timeout_ms": 5_000,
    "grpc.http2.ping_timeout_ms": 5_000,
    "grpc.keepalive_permit_without_calls": 1,
    "grpc.http2.max_pings_without_data": 0,
    "grpc.http2.min_ping_interval_without_data_ms": 5_000,
}


class ServingCertificates(Protocol):
    """A source of serving certificates."""

    def pair(self) -> tuple[str, Sensitive] | None:
        """Return the certificate chain and its key, in PEM; None if there is none yet."""

    def problems(self) -> list[str]:
        """Return why nodes would reject the certificate."""

    def run(self, stop: threading.Event) -> None:
        """Keep the certificate current until `stop`."""


class StreamServer:
    """Serves from `serve` until its `stop`; `port` is 0 before."""

    def __init__(
        self,
        address: tuple[str, int],
        certificates: ServingCertificates,
        authorizer: Authorizer,
        companions: Companions,
        metrics: BrokerMetrics,
        limits: StreamLimits | None = None,
    ) -> None:
        self.port = 0
        self._address = address
        self._certificates = certificates
        self._metrics = metrics
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="api")
        self._admissions = asyncio.Semaphore(_ADMISSIONS)
        self._waiting = 0
        self._streams: dict[str, list[NodeStream]] = {}
        self._tools = StreamTools(
            authorizer, companions, metrics, self._in_thread, limits or StreamLimits()
        )
        metrics.companions.set_function(lambda: float(len(companions)))

    async def serve(self, stop: threading.Event) -> None:
        """Serve until `stop`. There must be a certificate. Raises DriverError."""
        limits = self._tools.limits
        times = {
            "grpc.max_connection_age_ms": int(1000 * limits.connection_age),
            "grpc.max_connection_idle_ms": int(1000 * limits.unused),
            "grpc.server_handshake_timeout_ms": int(1000 * limits.unused),
        }
        server = aio.server(options=list({**_OPTIONS, **times}.items()))
        handler = grpc.stream_stream_rpc_method_handler(
            self._subscribe, request_deserializer=_message
        )
        methods = grpc.method_handlers_generic_handler(SERVICE, {"Subscribe": handler})
        server.add_generic_rpc_handlers((methods,))
        where = host_and_port(self._address)
        try:
            port = server.add_secure_port(where, self._credentials())
        except RuntimeError as error:
            # A server that never stopped logs itself in its destructor, and so ends the process.
            await server.start()
            await server.stop(None)
            raise DriverError(f"{where}: the address cannot be used") from error
        await server.start()
        self.port = port
        log.info("node plugins are served on port %d", port)
        try:
            await asyncio.get_running_loop().run_in_executor(None, stop.wait)
        finally:
            await server.stop(0)
            self._pool.shutdown(wait=False, cancel_futures=True)

    async def _subscribe(self, _: object, context: Any) -> None:
        try:
            await self._serve_node(context)
        except Denied as denied:
            log.warning("denied %s: %s", context.peer(), denied)
            self._metrics.denials.labels(denied.reason.value).inc()
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(denied))
        except StoreError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"no token can be reviewed: {error}")

    async def _serve_node(self, context: Any) -> None:
        token = _token_of(context.invocation_metadata())
        if self._waiting >= _MAX_WAITING:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "too many callers wait")
        # One who leaves keeps his place until the API server has answered.
        node = await asyncio.shield(self._admit(token))
        if isinstance(node, DriverError):
            raise node
        # By which the node knows that it was admitted.
        await context.send_initial_metadata(())
        stream = NodeStream(node, token, self._tools)
        streams = self._streams.setdefault(node, [])
        streams.append(stream)
        for oldest in streams[:-_STREAMS_PER_NODE]:
            oldest.end()
        self._metrics.streams.inc()
        try:
            await stream.run(context)
        finally:
            self._metrics.streams.dec()
            streams.remove(stream)
            if not streams:
                del self._streams[node]

    async def _admit(self, token: Sensitive) -> str | DriverError:
        """Return the caller's node, or why there is none."""
        self._waiting += 1
        result = "failed"
        try:
            async with self._admissions:
                node: str = await self._in_thread(self._tools.authorizer.node_of_token, token)
            result = "accepted"
        except Denied as denied:
            result = "denied"
            return denied
        except StoreError as error:
            return error
        else:
            return node
        finally:
            self._waiting -= 1
            self._metrics.reviews.labels(result).inc()

    def _in_thread(self, call: Callable[..., Any], *args: Any) -> Awaitable[Any]:
        return asyncio.get_running_loop().run_in_executor(self._pool, call, *args)

    def _credentials(self) -> Any:
        """Return credentials that ask for the current certificate at each handshake."""
        served: list[tuple[str, Sensitive]] = []

        def newest() -> Any:
            pair = self._certificates.pair()
            if pair is None or pair in served:
                return None
            served[:] = [pair]
            chain, key = pair
            return grpc.ssl_server_certificate_configuration(
                [(key.reveal().encode(), chain.encode())]
            )

        return grpc.dynamic_ssl_server_credentials(newest(), newest)


def _message(content: bytes) -> broker_pb2.NodeMessage:
    try:
        return broker_pb2.NodeMessage.FromString(content)
    except DecodeError:
        raise Denied(Denial.INVALID_REQUEST, "a message cannot be read") from None


def _token_of(metadata: Any) -> Sensitive:
    values = [value for key, value in metadata or () if key == "authorization"]
    if len(values) != 1 or not str(values[0]).startswith(_BEARER):
        raise Denied(Denial.TOKEN_REFUSED, "the stream brings no token")
    return Sensitive(str(values[0]).removeprefix(_BEARER))
