"""Errors for responses of the API server that are not a success.

The text of a response only helps to distinguish refusals and never gets into an error, because
admission webhooks may quote the object.
"""

import contextlib
import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from csidriver.adapters.kubernetes.request import ApiRequest
from csidriver.errors import StoreConflict, StoreError, StoreRefused, StoreUnavailable

_RETRYABLE = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})


class NotFound(StoreRefused):
    """The object does not exist, or its namespace does not."""


class ResourceExpired(StoreUnavailable):
    """The API server no longer has the resourceVersion from which a watch or list continues."""


@dataclass(frozen=True, slots=True)
class ApiStatus:
    """Fields of a Status object; `message` must not be shown."""

    reason: str
    message: str
    kind: str

    @classmethod
    def parse(cls, body: bytes) -> "ApiStatus":
        status: Any = None
        with contextlib.suppress(ValueError, RecursionError):
            status = json.loads(body)
        status = status if isinstance(status, dict) else {}
        details = status.get("details")
        kind = details.get("kind") if isinstance(details, dict) else ""
        return cls(*(str(v or "") for v in (status.get("reason"), status.get("message"), kind)))

    @property
    def is_from_webhook(self) -> bool:
        return self.message.startswith("admission webhook ")


def error_for(request: ApiRequest, code: int, body: bytes) -> StoreError:
    """Return the error for a response with this HTTP status code and body."""
    status = ApiStatus.parse(body)
    if code == HTTPStatus.CONFLICT:
        return _conflict(request, status)
    if code == HTTPStatus.NOT_FOUND:
        deleted = request.verb in {"patch", "update"}
        return (StoreConflict if deleted else NotFound)(f"cannot {request}: it does not exist")
    if code == HTTPStatus.GONE:
        return ResourceExpired(f"cannot {request}: the resourceVersion has expired (410)")
    is_client_error = HTTPStatus.BAD_REQUEST <= code < HTTPStatus.INTERNAL_SERVER_ERROR
    if code in _RETRYABLE or not is_client_error:
        return StoreUnavailable(f"cannot {request}: the API server answered {code}")
    return StoreRefused(f"cannot {request}: {_refusal(request, code, status)} ({int(code)})")


def _conflict(request: ApiRequest, status: ApiStatus) -> StoreError:
    """Return the error for a 409, which a quota being changed or a webhook may also cause."""
    if status.is_from_webhook:
        return StoreRefused(f"cannot {request}: an admission webhook refused it (409)")
    # The layer that found the conflict names the resource or the kind.
    if status.kind not in {"", request.resource, request.kind}:
        busy = f"the API server is busy with {status.kind:.40} (409)"
        return StoreUnavailable(f"cannot {request}: {busy}")
    exists = status.reason == "AlreadyExists"
    return StoreConflict(f"cannot {request}: {'it exists' if exists else 'it has changed'}")


def _refusal(request: ApiRequest, code: int, status: ApiStatus) -> str:
    if status.is_from_webhook:
        return "an admission webhook refused it"
    if code == HTTPStatus.UNAUTHORIZED:
        return "the API server does not accept our credentials"
    if code == HTTPStatus.FORBIDDEN and "cannot " in status.message:
        where = f"namespace {request.namespace}" if request.namespace else "all namespaces"
        where = "the cluster" if request.is_cluster_scoped else where
        return f"we lack the right to {request.verb} {request.resource} in {where}"
    if code == HTTPStatus.FORBIDDEN:
        return "a quota or an admission policy refused it, or its namespace is being deleted"
    if code == HTTPStatus.UNPROCESSABLE_ENTITY:
        return "the API server considers it invalid; is it immutable?"
    return "the API server refused it"
