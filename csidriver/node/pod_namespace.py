"""Reading from a pod's namespace within a publish: its uid, and ConfigMaps with templates."""

from dataclasses import replace

from csidriver.core.companion import Companion
from csidriver.core.login_command import ask_for_login
from csidriver.core.names import TEMPLATE_KEY
from csidriver.core.volume.template import Template
from csidriver.errors import TemplateMissing, TokenUnavailable
from csidriver.node.companion_watcher import CompanionSource
from csidriver.node.volume_record import VolumeRecord


def check_namespace(
    record: VolumeRecord, companion: Companion, reader: CompanionSource
) -> VolumeRecord:
    """Return the record with the uid of its namespace, which owns the token.

    A companion of an earlier release names no owner.

    Raises:
        TokenUnavailable: the token is of an earlier namespace.
    """
    owner, name = companion.namespace_uid, record.namespace
    if not owner:
        return record
    if reader.get_namespace_uid(record.pod, record.source.name) not in {None, owner}:
        text = (
            f"the access token of Secret {record.source} belongs to an earlier namespace {name}; "
            "see that the refresher is running, and create the Secret with a new login"
        )
        raise TokenUnavailable(ask_for_login(text, record.source))
    return replace(record, namespace_uid=owner)


def resolve_template(record: VolumeRecord, reader: CompanionSource) -> VolumeRecord:
    """Return the record with the template of its ConfigMap, which is read once in a pod's life.

    Raises:
        TemplateMissing: the ConfigMap or its template does not exist.
    """
    name = record.attributes.template_config_map
    if not name:
        return record
    data = reader.get_config_map(record.pod, name)
    if data is None or TEMPLATE_KEY not in data:
        missing = "does not exist" if data is None else f"has no key {TEMPLATE_KEY!r}"
        raise TemplateMissing(f"ConfigMap {record.namespace}/{name} {missing}; create it")
    template = Template.parse(data[TEMPLATE_KEY])
    return replace(record, attributes=replace(record.attributes, template=template))
