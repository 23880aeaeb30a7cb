"""Events, one for each object, reason and topic: what recurs is counted."""

import hashlib
from typing import Any

from csidriver.adapters.kubernetes.client import KubernetesClient, RequestOptions
from csidriver.adapters.kubernetes.request import ApiRequest
from csidriver.core.kubernetes.event import Event
from csidriver.core.kubernetes.timestamp import format_rfc3339
from csidriver.core.names import FIELD_MANAGER
from csidriver.errors import StoreConflict

_LONGEST_STEM = 200  # of 253 characters; leaves room for the hash
_LONGEST_MESSAGE = 1024  # what the newer API of Events takes


def record(client: KubernetesClient, event: Event, now: float) -> None:
    """Store an Event that happened `now` (epoch seconds); raises StoreError.

    Reading Events is not among our rights, so the count so far comes with the answer to a patch.
    """
    call = ApiRequest("create", "events", event.ref.namespace, _name(event))
    try:
        client.send(call, RequestOptions(body=_manifest(event, call.name, format_rfc3339(now))))
    except StoreConflict:
        told = {"message": event.message[:_LONGEST_MESSAGE], "lastTimestamp": format_rfc3339(now)}
        again = ApiRequest("patch", "events", call.namespace, call.name)
        before = client.send(again, RequestOptions(body=told)).document
        count = before.get("count")
        version = before["metadata"]["resourceVersion"]
        counted = {"count": (count if isinstance(count, int) else 0) + 1}
        client.send(
            again, RequestOptions(body={"metadata": {"resourceVersion": version}, **counted})
        )


def _name(event: Event) -> str:
    """Equal for what is the same again, so that the API server finds the one to count."""
    same = f"{event.uid} {event.reason}" + (f" {event.topic}" if event.topic else "")
    digest = hashlib.sha256(same.encode()).hexdigest()[:16]
    return f"{event.ref.name[:_LONGEST_STEM].rstrip('.-')}.{digest}"


def _manifest(event: Event, name: str, now: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": event.ref.namespace},
        "involvedObject": event.object_reference,
        "reason": event.reason,
        "message": event.message[:_LONGEST_MESSAGE],
        "type": "Normal" if event.normal else "Warning",
        "source": {"component": FIELD_MANAGER},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
