"""Updates of a broker as the values and errors that the node knows."""

from collections.abc import Mapping

from csidriver._proto import broker_pb2
from csidriver.core.companion import AccessToken, Companion
from csidriver.core.names import TEMPLATE_KEY, SourceRef
from csidriver.core.sensitive import Sensitive
from csidriver.core.status import Status
from csidriver.errors import InvalidSecret, StoreError, StoreRefused, StoreUnavailable

# A companion, the `data` of a ConfigMap, None if there is no such object, or why there is neither.
State = Companion | Mapping[str, str] | InvalidSecret | StoreError | None


def state_received(update: broker_pb2.Update, ref: SourceRef) -> State:
    """Return the state in an update of a subscription of this Secret, or of this ConfigMap."""
    kind = update.WhichOneof("state")
    if kind == "companion":
        return _companion(update.companion, ref)
    if kind == "absent":
        return None
    if kind == "template":
        return {TEMPLATE_KEY: update.template.text} if update.template.HasField("text") else {}
    if kind == "damaged":
        return InvalidSecret(f"the companion of Secret {ref}", [update.damaged.problem])
    if kind == "denied":
        return StoreRefused(update.denied.message)
    problem = update.unavailable.message or "the broker sent a state of a later release"
    return StoreUnavailable(problem)


def _companion(message: broker_pb2.Companion, ref: SourceRef) -> Companion | InvalidSecret:
    try:
        status = Status(message.status)
    except ValueError:
        return InvalidSecret(f"the companion of Secret {ref}", ["its status is of a later release"])
    token = AccessToken(
        value=Sensitive(message.access_token),
        token_type=message.token_type,
        issued_at=message.issued_at,
        expires_at=message.expires_at,
        written_at=message.written_at,
    )
    return Companion(
        source=ref,
        source_uid=message.source_uid,
        generation=message.generation,
        status=status,
        message=message.message,
        next_refresh=message.next_refresh,
        token=token if message.access_token else None,
        namespace_uid=message.namespace_uid,
    )
