"""The error boundary around every RPC: our errors become gRPC statuses here and nowhere else."""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

import grpc

from csidriver.errors import (
    DriverError,
    InFlight,
    InvalidRequest,
    InvalidSecret,
    InvalidTemplate,
    NotReady,
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
    NotReady: grpc.StatusCode.UNAVAILABLE,
    StoreUnavailable: grpc.StatusCode.UNAVAILABLE,
    TokenUnavailable: grpc.StatusCode.FAILED_PRECONDITION,
    InvalidSecret: grpc.StatusCode.FAILED_PRECONDITION,
    StoreRefused: grpc.StatusCode.PERMISSION_DENIED,
    TemplateMissing: grpc.StatusCode.NOT_FOUND,
    StorageFull: grpc.StatusCode.RESOURCE_EXHAUSTED,
}
_INTERNAL = "internal error of the node plugin; its log has the details"


def code_of(error: DriverError) -> grpc.StatusCode:
    """The status code of an error; INTERNAL for what concerns neither user nor operator."""
    return _CODES.get(type(error), grpc.StatusCode.INTERNAL)


class Boundary(grpc.ServerInterceptor):
    """Turns errors into statuses, counts and logs calls. Requests are never logged."""

    def __init__(self, metrics: NodeMetrics) -> None:
        self._metrics = metrics

    def intercept_service(
        self, continuation: Callable[[Any], Any], details: grpc.HandlerCallDetails
    ) -> Any:
        """Wrap a unary handler; unknown methods stay None, which is UNIMPLEMENTED."""
        handler = continuation(details)
        if handler is None:
            return None
        method = details.method.rpartition("/")[2]

        def guarded(request: Any, context: grpc.ServicerContext) -> Any:
            return self._call(method, handler.unary_unary, request, context)

        return grpc.unary_unary_rpc_method_handler(
            guarded,
            request_deserializer=handler.request_deserializer,
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
            code, text = code_of(error), str(error)
            log.warning("%s: %s: %s", method, code.name, text)
        except Exception:
            code, text = grpc.StatusCode.INTERNAL, _INTERNAL
            log.exception("%s failed", method)
        self._metrics.answered(method, code.name, time.monotonic() - started)
        if reply is None:
            context.abort(code, text)
        log.debug("%s: OK", method)
        return reply
