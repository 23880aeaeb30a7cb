"""The check that a token is of the pod's namespace, not of an earlier one of its name."""

import threading
from dataclasses import replace
from typing import Protocol

from csidriver.core.companion import Companion
from csidriver.errors import TokenUnavailable
from csidriver.node.cancellable import run_cancellable
from csidriver.node.volume_record import VolumeRecord


class NamespaceReader(Protocol):
    """The backend's namespaces."""

    def get_namespace_uid(self, namespace: str) -> str:
        """Return the uid of a namespace, "" if it does not exist; raise StoreError."""


def check_namespace(
    record: VolumeRecord, companion: Companion, reader: NamespaceReader, cancel: threading.Event
) -> VolumeRecord:
    """Return the record with the uid of its namespace, which owns the token.

    A companion of an earlier release names no owner.

    Raises:
        TokenUnavailable: the token is of an earlier namespace.
        NotReady: `cancel` was set before the backend answered.
    """
    owner, name = companion.namespace_uid, record.namespace
    if not owner:
        return record
    subject = f"Namespace {name}"
    uid = run_cancellable(cancel, lambda: reader.get_namespace_uid(name), subject)
    if uid != owner:
        raise TokenUnavailable(
            f"the access token of Secret {record.source} belongs to an earlier namespace {name}; "
            "create the Secret with a new login, and see that the refresher is running"
        )
    return replace(record, namespace_uid=uid)
