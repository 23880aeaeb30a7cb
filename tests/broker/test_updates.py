from dataclasses import replace

import pytest

from csidriver._proto import broker_pb2
from csidriver.broker import updates
from csidriver.core.annotations import COMPANION_SECRET_TYPE, GENERATION
from csidriver.core.companion import Companion
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.sensitive import Sensitive
from csidriver.core.volume.template import MAX_TEMPLATE, Template
from csidriver.errors import InvalidTemplate
from tests.broker.fakes import HELLO, NEEDLE, TOKENS, companion


def secret(written: Companion, **annotations: str) -> Secret:
    known = written.annotations() | annotations
    return Secret(
        TOKENS, HELLO.companion, type=COMPANION_SECRET_TYPE, annotations=known, data=written.data()
    )


def update(payload: bytes, number: int = 7) -> broker_pb2.Update:
    return broker_pb2.Update.FromString(updates.addressed(number, payload))


def test_the_first_subscription_may_be_0() -> None:
    assert update(updates.ABSENT.payload, 0) == broker_pb2.Update(absent=broker_pb2.Absent())


def large() -> Companion:
    token = companion().token
    assert token is not None
    return replace(companion(), token=replace(token, value=Sensitive("x" * (32 * 1024 + 1))))


@pytest.mark.parametrize(
    ("damaged", "problem"),
    [
        (secret(companion(), **{GENERATION: "many"}), "not a companion"),
        (replace(secret(companion()), name="token-of-another"), "belongs to alice/hello-token"),
        (secret(large()), "over 32 KiB"),
    ],
    ids=("no number", "of another name", "too large"),
)
def test_a_damaged_companion_brings_its_problem_and_no_token(damaged: Secret, problem: str) -> None:
    state = updates.state_of(damaged)
    assert problem in update(state.payload).damaged.problem
    assert NEEDLE.encode() not in state.payload


def test_a_template_that_is_too_long_stays_too_long() -> None:
    arrived = update(updates.template({"template": "x" * 10 * MAX_TEMPLATE})).template
    assert len(arrived.text) < 2 * MAX_TEMPLATE
    with pytest.raises(InvalidTemplate, match="larger than 16 KiB"):
        Template.parse(arrived.text)
