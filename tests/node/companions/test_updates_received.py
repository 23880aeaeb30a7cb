import re

import pytest

from csidriver._proto import broker_pb2
from csidriver.broker import updates
from csidriver.core.broker.denial import Denial, Denied
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import SourceRef
from csidriver.errors import InvalidSecret, StoreRefused, StoreUnavailable
from csidriver.node.companions.updates_received import State, state_received
from tests.broker.fakes import HELLO, TOKENS


def sent(payload: bytes, ref: SourceRef = HELLO) -> State:
    return state_received(broker_pb2.Update.FromString(updates.addressed(1, payload)), ref)


DAMAGED = updates.state_of(Secret(TOKENS, HELLO.companion))


@pytest.mark.parametrize(
    ("payload", "error", "text"),
    [
        (DAMAGED.payload, InvalidSecret, "alice/hello-token: is not a"),
        (updates.OF_OTHER_NAMESPACE, InvalidSecret, "another namespace"),
        (updates.denied(Denied(Denial.OTHER_NODE, "no")), StoreRefused, r"no \(other_node\)"),
        (updates.unavailable("later"), StoreUnavailable, "later"),
        (b"", StoreUnavailable, "later release"),
    ],
    ids=("damaged", "of another namespace", "denied", "unavailable", "unknown"),
)
def test_other_states_are_errors(payload: bytes, error: type[Exception], text: str) -> None:
    state = sent(payload)
    assert isinstance(state, error)
    assert re.search(text, str(state))


def test_a_status_of_a_later_release_is_no_crash() -> None:
    update = broker_pb2.Update(companion=broker_pb2.Companion(status="Splendid"))
    assert isinstance(state_received(update, HELLO), InvalidSecret)
