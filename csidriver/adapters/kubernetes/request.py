"""One request in the words of RBAC, and what the answer's status means to us.

The text of an answer only helps to tell one refusal from another. It never gets into an error:
admission webhooks may quote the object.
"""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode

from csidriver.core.kubernetes.validation import is_dns1123_label, is_dns1123_subdomain
from csidriver.errors import StoreConflict, StoreError, StoreRefused, StoreUnavailable

_ROOTS = {
    "leases": "/apis/coordination.k8s.io/v1",
    "mutatingwebhookconfigurations": "/apis/admissionregistration.k8s.io/v1",
}
_KINDS = {
    "secrets": "Secret",
    "events": "Event",
    "leases": "Lease",
    "mutatingwebhookconfigurations": "MutatingWebhookConfiguration",
}
_OF_CLUSTER = frozenset({"mutatingwebhookconfigurations"})  # in no namespace
_METHODS = {"create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE"}
_RETRYABLE = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})
_OUR_FAULT = HTTPStatus.INTERNAL_SERVER_ERROR  # below it


class NotFound(StoreRefused):
    """There is nothing of that name, or no such namespace."""


class ResourceExpired(StoreUnavailable):
    """The API server no longer knows the version that a watch or a list was to go on from."""


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """A verb on a resource; no `namespace` means all of them, no `name` their collection."""

    verb: str
    resource: str
    namespace: str = ""
    name: str = ""

    def __post_init__(self) -> None:
        """Raises StoreRefused for names that no object can have, which could form another URL."""
        nowhere = not self.name or self.resource in _OF_CLUSTER
        fit = is_dns1123_label(self.namespace) if self.namespace else nowhere
        if not fit or (self.name and not is_dns1123_subdomain(self.name)):
            raise StoreRefused(f"cannot {self}: no object has such a name")

    def __str__(self) -> str:
        where = "/".join(filter(None, (self.namespace, self.name))) or "of all namespaces"
        return f"{self.verb} {_KINDS[self.resource]}{'' if self.name else 's'} {where:.300}"

    @property
    def method(self) -> str:
        """The method of HTTP."""
        return _METHODS.get(self.verb, "GET")

    def path(self, query: Mapping[str, str]) -> str:
        """Path and query; a create goes to the collection."""
        parts = ["", "namespaces", quote(self.namespace, safe="")] if self.namespace else [""]
        parts.append(self.resource)
        if self.name and self.verb != "create":
            parts.append(quote(self.name, safe=""))
        path = _ROOTS.get(self.resource, "/api/v1") + "/".join(parts)
        return f"{path}?{urlencode(query)}" if query else path


def error_for(call: ApiRequest, status: int, body: bytes) -> StoreError:
    """The error for an answer that is no success."""
    told = ApiStatus.of(body)
    if status == HTTPStatus.CONFLICT:
        return _conflict(call, told)
    if status == HTTPStatus.NOT_FOUND:
        gone = call.verb in {"patch", "update"}
        return (StoreConflict if gone else NotFound)(f"cannot {call}: there is none")
    if status == HTTPStatus.GONE:
        return ResourceExpired(f"cannot {call}: what the API server had to tell has expired (410)")
    if status in _RETRYABLE or not HTTPStatus.BAD_REQUEST <= status < _OUR_FAULT:
        return StoreUnavailable(f"cannot {call}: the API server answered {status}")
    return StoreRefused(f"cannot {call}: {_reason(call, status, told)} ({int(status)})")


def _conflict(call: ApiRequest, told: "ApiStatus") -> StoreError:
    """What a 409 means: also a quota in the middle of a change, or any word of a webhook."""
    if told.by_webhook:
        return StoreRefused(f"cannot {call}: an admission webhook says no (409)")
    # Written as a resource or as a kind, depending on the layer that found it.
    if told.kind not in {"", call.resource, _KINDS[call.resource]}:
        return StoreUnavailable(f"cannot {call}: the API server is busy with {told.kind:.40} (409)")
    exists = told.reason == "AlreadyExists"
    return StoreConflict(f"cannot {call}: {'it exists' if exists else 'it has changed'}")


def _reason(call: ApiRequest, status: int, told: "ApiStatus") -> str:
    if told.by_webhook:
        return "an admission webhook says no"
    if status == HTTPStatus.UNAUTHORIZED:
        return "the API server does not accept our credentials"
    if status == HTTPStatus.FORBIDDEN and "cannot " in told.message:
        where = f"namespace {call.namespace}" if call.namespace else "all namespaces"
        where = "the cluster" if call.resource in _OF_CLUSTER else where
        return f"we lack the right to {call.verb} {call.resource} in {where}"
    if status == HTTPStatus.FORBIDDEN:
        return "a quota or an admission policy says no, or its namespace is going away"
    if status == HTTPStatus.UNPROCESSABLE_ENTITY:
        return "the API server finds it invalid; is it immutable?"
    return "the API server says no"


@dataclass(frozen=True, slots=True)
class ApiStatus:
    """What a Status object says; its `message` is for looking at, not for showing."""

    reason: str
    message: str
    kind: str

    @classmethod
    def of(cls, body: bytes) -> "ApiStatus":
        status: Any = None
        with contextlib.suppress(ValueError, RecursionError):
            status = json.loads(body)
        status = status if isinstance(status, dict) else {}
        details = status.get("details")
        kind = details.get("kind") if isinstance(details, dict) else ""
        return cls(*(str(v or "") for v in (status.get("reason"), status.get("message"), kind)))

    @property
    def by_webhook(self) -> bool:
        return self.message.startswith("admission webhook ")
