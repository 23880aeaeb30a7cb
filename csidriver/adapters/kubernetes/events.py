"""Events: one for each object, reason and topic, with a count of its repetitions."""

import hashlib
from dataclasses import replace

from csidriver.adapters.kubernetes.client import KubernetesClient, RequestOptions
from csidriver.adapters.kubernetes.request import ApiRequest
from csidriver.core.kubernetes.event import Event
from csidriver.core.kubernetes.timestamp import format_rfc3339
from csidriver.errors import StoreConflict

_MAX_STEM = 200  # of 253 characters; leaves room for the hash
_MAX_MESSAGE = 1024  # the limit of the newer API of Events


def record(client: KubernetesClient, event: Event, now: float) -> None:
    """Store an Event that happened `now` (epoch seconds); raises StoreError.

    We have no right to read Events, so the previous count is taken from the response to a patch.
    """
    event = replace(event, message=event.message[:_MAX_MESSAGE])
    request = ApiRequest("create", "events", event.ref.namespace, _name(event))
    time = format_rfc3339(now)
    try:
        client.send(request, RequestOptions(body=event.to_manifest(request.name, time)))
    except StoreConflict:
        repeated = {"message": event.message, "lastTimestamp": time}
        patch = ApiRequest("patch", "events", request.namespace, request.name)
        stored = client.send(patch, RequestOptions(body=repeated)).document
        version, count = stored["metadata"]["resourceVersion"], stored.get("count")
        counted = {"count": (count if isinstance(count, int) else 0) + 1}
        body = {"metadata": {"resourceVersion": version}, **counted}
        client.send(patch, RequestOptions(body=body))


def _name(event: Event) -> str:
    """Return the same name for a repetition, so that the API server finds the Event to count."""
    key = f"{event.uid} {event.reason}" + (f" {event.topic}" if event.topic else "")
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    return f"{event.ref.name[:_MAX_STEM].rstrip('.-')}.{digest}"
