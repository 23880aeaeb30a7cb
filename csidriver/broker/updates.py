"""Updates as bytes: the state of a companion is serialised once for all streams.

In protobuf two serialised messages, one after the other, are their merger. So a stream puts the ids
of its subscriptions in front of a state that all of them share.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from csidriver._proto import broker_pb2
from csidriver.core.broker.denial import Denied
from csidriver.core.companion import Companion, parse_for_node
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import TEMPLATE_KEY
from csidriver.core.volume.template import MAX_TEMPLATE
from csidriver.errors import InvalidSecret


@dataclass(frozen=True, slots=True)
class CompanionState:
    """An update without its id, and the version of the Secret that it comes from.

    `namespace_uid` is the owner of its token, "" if unknown.
    """

    payload: bytes = field(repr=False)
    version: str = ""
    namespace_uid: str = ""


def state_of(secret: Secret) -> CompanionState:
    version = secret.resource_version
    try:
        companion = parse_for_node(secret)
    except InvalidSecret as error:
        return CompanionState(_damaged("; ".join(error.problems)), version)
    if companion.source.companion != secret.name:
        return CompanionState(_damaged(f"belongs to {companion.source}"), version)
    return CompanionState(_companion(companion), version, companion.namespace_uid)


def template(data: Mapping[str, str] | None) -> bytes:
    """Return the update for the `data` of a ConfigMap, None if it does not exist.

    Of a template that is too long the node gets enough to say so.
    """
    if data is None:
        return ABSENT.payload
    text = data.get(TEMPLATE_KEY)
    return _update(template=broker_pb2.Template(text=text and text[: MAX_TEMPLATE + 1]))


def denied(error: Denied) -> bytes:
    return _update(denied=broker_pb2.Denied(reason=error.reason.value, message=str(error)))


def unavailable(text: str) -> bytes:
    return _update(unavailable=broker_pb2.Unavailable(message=text))


def addressed(subscription: int, payload: bytes, others: Iterable[int] = ()) -> bytes:
    return broker_pb2.Update(id=subscription, others=others).SerializeToString() + payload


def _companion(companion: Companion) -> bytes:
    message = broker_pb2.Companion(
        source_uid=companion.source_uid,
        namespace_uid=companion.namespace_uid,
        generation=companion.generation,
        status=companion.status.value,
        message=companion.message,
        next_refresh=companion.next_refresh,
    )
    if token := companion.token:
        message.access_token = token.value.reveal()
        message.token_type = token.token_type
        message.issued_at = token.issued_at
        message.expires_at = token.expires_at
        message.written_at = token.written_at
    return _update(companion=message)


def _damaged(problem: str) -> bytes:
    return _update(damaged=broker_pb2.Damaged(problem=problem))


def _update(**state: Any) -> bytes:
    return bytes(broker_pb2.Update(**state).SerializeToString())


ABSENT = CompanionState(_update(absent=broker_pb2.Absent()))
OF_OTHER_NAMESPACE = _damaged(
    "belongs to another namespace of this name; see that the refresher is running, and create the "
    "Secret with a new login"
)
