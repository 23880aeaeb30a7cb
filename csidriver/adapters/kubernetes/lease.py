"""The refresher's Lease, an object of `coordination.k8s.io`."""

import math
from datetime import UTC, datetime
from typing import Any

from csidriver.adapters.kubernetes.client import KubernetesClient, RequestOptions, without_traceback
from csidriver.adapters.kubernetes.request import ApiRequest
from csidriver.core.kubernetes.lease import LeaseRecord
from csidriver.core.kubernetes.timestamp import parse_rfc3339
from csidriver.core.names import REFRESHER
from csidriver.errors import StoreUnavailable


class LeaseStore:
    """The Lease in a namespace; every method may raise StoreError."""

    def __init__(self, client: KubernetesClient, namespace: str) -> None:
        self._client = client
        self._namespace = namespace

    @without_traceback
    def read(self) -> LeaseRecord | None:
        response = self._client.send_or_none(self._request("get"))
        return None if response is None else _record(response.document)

    @without_traceback
    def write(self, record: LeaseRecord) -> LeaseRecord:
        metadata = {"name": REFRESHER, "namespace": self._namespace}
        if record.version:
            metadata["resourceVersion"] = record.version
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": _spec(record),
        }
        request = self._request("update" if record.version else "create")
        return _record(self._client.send(request, RequestOptions(body=body)).document)

    def _request(self, verb: str) -> ApiRequest:
        return ApiRequest(verb, "leases", self._namespace, REFRESHER)


def _spec(record: LeaseRecord) -> dict[str, Any]:
    # A Lease cannot have an empty holder, nor fractions of seconds.
    holder = {"holderIdentity": record.holder} if record.holder else {}
    return holder | {
        "leaseDurationSeconds": max(1, math.ceil(record.duration)),
        "leaseTransitions": record.transitions,
        "acquireTime": _format_time(record.acquired_at),
        "renewTime": _format_time(record.renewed_at),
    }


def _record(document: dict[str, Any]) -> LeaseRecord:
    metadata, spec = document.get("metadata"), document.get("spec") or {}
    if not isinstance(metadata, dict) or not isinstance(spec, dict):
        raise StoreUnavailable("a response of the API server is not a valid Lease")
    return LeaseRecord(
        holder=str(spec.get("holderIdentity") or ""),
        duration=float(spec.get("leaseDurationSeconds") or 0),
        acquired_at=parse_rfc3339(str(spec.get("acquireTime"))) or 0.0,
        renewed_at=parse_rfc3339(str(spec.get("renewTime"))) or 0.0,
        transitions=int(spec.get("leaseTransitions") or 0),
        version=str(metadata.get("resourceVersion") or ""),
    )


def _format_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
