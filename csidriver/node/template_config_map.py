"""Templates of token files from ConfigMaps."""

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

# Seconds between two checks whether the call was cancelled.
_CHECK_CANCEL_EVERY = 0.05


class ConfigMaps(Protocol):
    """The backend's ConfigMaps."""

    def get_config_map(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """Return the `data` of a ConfigMap, or None if it does not exist; raise StoreError."""


def resolve_template(
    record: VolumeRecord, config_maps: ConfigMaps, cancel: threading.Event
) -> VolumeRecord:
    """Return the record with the template of its ConfigMap, which is read once in a pod's life.

    Raises:
        TemplateMissing: the ConfigMap or its template does not exist.
        NotReady: `cancel` was set before the backend answered.
    """
    name = record.attributes.template_config_map
    if not name:
        return record
    subject = f"ConfigMap {record.namespace}/{name}"
    data = _run_cancellable(
        cancel, lambda: config_maps.get_config_map(record.namespace, name), subject
    )
    if data is None or TEMPLATE_KEY not in data:
        missing = "does not exist" if data is None else f"has no key {TEMPLATE_KEY!r}"
        raise TemplateMissing(f"{subject} {missing}; create it")
    template = Template.parse(data[TEMPLATE_KEY])
    return replace(record, attributes=replace(record.attributes, template=template))


def _run_cancellable(cancel: threading.Event, read: Callable[[], T], subject: str) -> T:
    """Return or raise the result of `read`. On `cancel` its thread runs on by itself."""
    answer: Future[T] = Future()

    def run() -> None:
        try:
            answer.set_result(read())
        except Exception as error:  # noqa: BLE001 - raised again by the waiting thread
            answer.set_exception(error)

    # A daemon: a process that stops does not wait for a backend that does not answer.
    threading.Thread(target=run, name="template", daemon=True).start()
    while not futures.wait([answer], _CHECK_CANCEL_EVERY).done:
        if cancel.is_set():
            raise NotReady(f"the call was ended while {subject} was being read")
    return answer.result()
