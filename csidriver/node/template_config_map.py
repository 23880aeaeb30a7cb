"""Templates of token files that a ConfigMap holds."""

import threading
from collections.abc import Callable, Mapping
from concurrent import futures
from concurrent.futures import Future
from dataclasses import replace
from typing import Protocol, TypeVar

from csidriver.core.names import TEMPLATE_KEY
from csidriver.core.volume.template import Template
from csidriver.errors import NotReady, TemplateMissing
from csidriver.node.volume_record import VolumeRecord

T = TypeVar("T")

# Seconds between two looks at whether anybody still wants the answer.
_CHECK_CANCEL_EVERY = 0.05


class ConfigMaps(Protocol):
    """Where templates are read."""

    def get_config_map(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """The `data` of a ConfigMap, None if there is none; raises StoreError."""


def resolve_template(
    record: VolumeRecord, config_maps: ConfigMaps, cancel: threading.Event
) -> VolumeRecord:
    """The record with the text of its template ConfigMap, read once for the pod's life.

    Raises:
        TemplateMissing: there is no such ConfigMap, or it has no template.
        NotReady: `cancel` was set before the backend had answered.
    """
    name = record.attributes.template_config_map
    if not name:
        return record
    place = f"ConfigMap {record.namespace}/{name}"
    data = _run_cancellable(
        cancel, lambda: config_maps.get_config_map(record.namespace, name), place
    )
    if data is None or TEMPLATE_KEY not in data:
        missing = "does not exist" if data is None else f"has no key {TEMPLATE_KEY!r}"
        raise TemplateMissing(f"{place} {missing}; create it")
    template = Template.parse(data[TEMPLATE_KEY])
    return replace(record, attributes=replace(record.attributes, template=template))


def _run_cancellable(cancel: threading.Event, read: Callable[[], T], place: str) -> T:
    """What `read` returns or raises. It cannot be ended: on `cancel` it is left to itself."""
    answer: Future[T] = Future()

    def run() -> None:
        try:
            answer.set_result(read())
        except Exception as error:  # noqa: BLE001 - raised again by who waits for it
            answer.set_exception(error)

    # A daemon: a process that stops does not wait for a backend that keeps silent.
    threading.Thread(target=run, name="template", daemon=True).start()
    while not futures.wait([answer], _CHECK_CANCEL_EVERY).done:
        if cancel.is_set():
            raise NotReady(f"the call was ended while {place} was being read")
    return answer.result()
