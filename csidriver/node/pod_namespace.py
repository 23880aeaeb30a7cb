"""Reading from a pod's namespace within a publish: its uid, and ConfigMaps with templates."""

import threading
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import Future
from dataclasses import replace
from typing import TypeVar

from csidriver.core.companion import Companion
from csidriver.core.login_command import ask_for_login
from csidriver.core.names import TEMPLATE_KEY
from csidriver.core.volume.template import Template
from csidriver.errors import NotReady, TemplateMissing, TokenUnavailable
from csidriver.node.companion_watcher import CompanionSource
from csidriver.node.volume_record import VolumeRecord

T = TypeVar("T")

# Seconds between two checks whether the call was cancelled.
_CHECK_CANCEL_EVERY = 0.05


def check_namespace(
    record: VolumeRecord, companion: Companion, reader: CompanionSource, cancel: threading.Event
) -> VolumeRecord:
    """Return the record with the uid of its namespace, which owns the token.

    A companion of an earlier release names no owner.

    Raises:
        TokenUnavailable: the token is of an earlier namespace.
        NotReady: `cancel` was set before the backend answered.
    """
    owner, name, secret = companion.namespace_uid, record.namespace, record.source.name
    if not owner:
        return record
    subject = f"Namespace {name}"
    uid = run_cancellable(cancel, lambda: reader.get_namespace_uid(record.pod, secret), subject)
    if uid not in {None, owner}:
        text = (
            f"the access token of Secret {record.source} belongs to an earlier namespace {name}; "
            "see that the refresher is running, and create the Secret with a new login"
        )
        raise TokenUnavailable(ask_for_login(text, record.source))
    return replace(record, namespace_uid=owner)


def resolve_template(
    record: VolumeRecord, reader: CompanionSource, cancel: threading.Event
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
    data = run_cancellable(cancel, lambda: reader.get_config_map(record.pod, name), subject)
    if data is None or TEMPLATE_KEY not in data:
        missing = "does not exist" if data is None else f"has no key {TEMPLATE_KEY!r}"
        raise TemplateMissing(f"{subject} {missing}; create it")
    template = Template.parse(data[TEMPLATE_KEY])
    return replace(record, attributes=replace(record.attributes, template=template))


def run_cancellable(cancel: threading.Event, read: Callable[[], T], subject: str) -> T:
    """Return or raise the result of `read`. On `cancel` its thread runs on by itself.

    Raises:
        NotReady: `cancel` was set before the backend answered.
    """
    answer: Future[T] = Future()

    def run() -> None:
        try:
            answer.set_result(read())
        except Exception as error:  # noqa: BLE001 - raised again by the waiting thread
            answer.set_exception(error)

    # A daemon: a process that stops does not wait for a backend that does not answer.
    threading.Thread(target=run, name="read", daemon=True).start()
    while not futures.wait([answer], _CHECK_CANCEL_EVERY).done:
        if cancel.is_set():
            raise NotReady(f"the call was ended while {subject} was being read")
    return answer.result()
