"""The interceptor of every RPC, the only place where errors become gRPC statuses."""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import grpc
from google.protobuf.message import DecodeError

from csidriver.errors import (
    DriverError,
    InFlight,
    InvalidInput,
    InvalidRequest,
    InvalidSecret,
    InvalidTemplate,
    LimitReached,
    NotReady,
    PublishedDifferently,
    StorageFull,
    StoreRefused,
    StoreUnavailable,
    TemplateMissing,
    TokenUnavailable,
)
from csidriver.node.metrics import NodeMetrics

log = logging.getLogger(__name__)

# docs/architecture.md, "Errors the user sees".
_CODES: Mapping[type[DriverError], grpc.StatusCode] = {
    InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
    InvalidTemplate: grpc.StatusCode.INVALID_ARGUMENT,
    InFlight: grpc.StatusCode.ABORTED,
    PublishedDifferently: grpc.StatusCode.ALREADY_EXISTS,
    NotReady: grpc.StatusCode.UNAVAILABLE,
    StoreUnavailable: grpc.StatusCode.UNAVAILABLE,
    TokenUnavailable: grpc.StatusCode.FAILED_PRECONDITION,
    InvalidSecret: grpc.StatusCode.FAILED_PRECONDITION,
    StoreRefused: grpc.StatusCode.PERMISSION_DENIED,
    TemplateMissing: grpc.StatusCode.NOT_FOUND,
    StorageFull: grpc.StatusCode.RESOURCE_EXHAUSTED,
    LimitReached: grpc.StatusCode.RESOURCE_EXHAUSTED,
}
_INTERNAL = "internal error of the node plugin; its log has the details"
# A client accepts 8 KiB of trailers; if there are more, it reports RESOURCE_EXHAUSTED instead of
# our text. Counted in bytes as sent (percent-encoded), without the note on omitted problems.
MAX_TEXT = 3072
_UNESCAPED = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")
_UNDECODABLE = object()


def status_code(error: DriverError) -> grpc.StatusCode:
    return _CODES.get(type(error), grpc.StatusCode.INTERNAL)


def status_message(error: DriverError) -> str:
    """Return an error's text as one printable line that is short enough to arrive.

    Texts quote pods and Secrets, whose authors must not write lines of a log or to a terminal.
    """
    text = _printable(str(error))
    if _sent_size(text) <= MAX_TEXT:
        return text
    if not isinstance(error, InvalidInput):
        return _truncated(text, MAX_TEXT)
    message = f"{error.subject}: "
    for index, problem in enumerate(error.problems):
        longer = f"{message}{_truncated(_printable(problem), MAX_TEXT // 3)}; "
        left = len(error.problems) - index
        if _sent_size(longer) > MAX_TEXT:
            return f"{message}and {left} more problem{'s' if left > 1 else ''}"
        message = longer
    return message.removesuffix("; ")


class ErrorInterceptor(grpc.ServerInterceptor):
    """Turns errors into statuses, counts and logs calls. Requests are never logged."""

    def __init__(self, metrics: NodeMetrics) -> None:
        self._metrics = metrics

    def intercept_service(
        self, continuation: Callable[[Any], Any], details: grpc.HandlerCallDetails
    ) -> Any:
        """Wrap a unary handler; an unknown method has none and stays UNIMPLEMENTED."""
        handler = continuation(details)
        if handler is None:
            return None
        method = details.method.rpartition("/")[2]

        def refuse(_request: Any, _context: grpc.ServicerContext) -> Any:
            raise InvalidRequest(method, ["the request cannot be decoded"])

        def decode(sent: bytes) -> Any:
            # gRPC itself would answer INTERNAL and log a traceback.
            try:
                return handler.request_deserializer(sent)
            except DecodeError:
                return _UNDECODABLE

        def guarded(request: Any, context: grpc.ServicerContext) -> Any:
            behaviour = refuse if request is _UNDECODABLE else handler.unary_unary
            return self._call(method, behaviour, request, context)

        return grpc.unary_unary_rpc_method_handler(
            guarded,
            request_deserializer=decode,
            response_serializer=handler.response_serializer,
        )

    def _call(
        self,
        method: str,
        behaviour: Callable[[Any, grpc.ServicerContext], Any],
        request: Any,
        context: grpc.ServicerContext,
    ) -> Any:
        started = time.monotonic()
        code, text, reply = grpc.StatusCode.OK, "", None
        try:
            reply = behaviour(request, context)
        except DriverError as error:
            code, text = status_code(error), status_message(error)
            log.warning("%s: %s: %s", method, code.name, text)
        except Exception:
            code, text = grpc.StatusCode.INTERNAL, _INTERNAL
            log.exception("%s failed", method)
        self._metrics.count_rpc(method, code.name, time.monotonic() - started)
        if reply is None:
            context.abort(code, text)
        log.debug("%s: OK", method)
        return reply


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _sent_size(text: str) -> int:
    return len(quote(text, safe=_UNESCAPED))


def _truncated(text: str, limit: int) -> str:
    """Return as much of a text as can be sent in so many bytes."""
    size = 0
    for index, character in enumerate(text):
        size += _sent_size(character)
        if size > limit:
            return f"{text[:index]}..."
    return text
