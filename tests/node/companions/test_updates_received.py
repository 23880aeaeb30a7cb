import re

import pytest

from csidriver._proto import broker_pb2
from csidriver.broker import updates
from csidriver.core.annotations import COMPANION_SECRET_TYPE
from csidriver.core.broker.denial import Denial, Denied
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import SourceRef
from csidriver.errors import InvalidSecret, StoreRefused, StoreUnavailable
from csidriver.node.companions.updates_received import State, state_received
from tests.broker.fakes import HELLO, TOKENS, companion


def sent(payload: bytes, ref: SourceRef = HELLO) -> State:
    return state_received(broker_pb2.Update.FromString(updates.addressed(1, payload)), ref)


DAMAGED = updates.state_of(Secret(TOKENS, HELLO.companion))


def test_a_companion_arrives_as_the_refresher_wrote_it() -> None:
    written = companion(7, namespace_uid="n-1")
    kind, known, data = COMPANION_SECRET_TYPE, written.annotations(), written.data()
    secret = Secret(TOKENS, HELLO.companion, type=kind, annotations=known, data=data)
    assert sent(updates.state_of(secret).payload) == written


@pytest.mark.parametrize("data", [{}, {"template": ""}, {"template": "x"}])
def test_a_template_arrives_as_the_data_of_its_config_map(data: dict[str, str]) -> None:
    assert sent(updates.template(data)) == data
    assert sent(updates.ABSENT.payload) is None


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
