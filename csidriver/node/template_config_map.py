"""Templates of token files from ConfigMaps."""

import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from csidriver.core.names import TEMPLATE_KEY
from csidriver.core.volume.template import Template
from csidriver.errors import TemplateMissing
from csidriver.node.cancellable import run_cancellable
from csidriver.node.volume_record import VolumeRecord


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
    data = run_cancellable(
        cancel, lambda: config_maps.get_config_map(record.namespace, name), subject
    )
    if data is None or TEMPLATE_KEY not in data:
        missing = "does not exist" if data is None else f"has no key {TEMPLATE_KEY!r}"
        raise TemplateMissing(f"{subject} {missing}; create it")
    template = Template.parse(data[TEMPLATE_KEY])
    return replace(record, attributes=replace(record.attributes, template=template))
