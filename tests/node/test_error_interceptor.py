import grpc
import pytest

from tests.node.plugin import Node

pytestmark = pytest.mark.mounts


@pytest.mark.parametrize("letter", ["x", "%", "\U000e0001"])
def test_a_flood_of_problems_still_arrives_as_what_it_is(shared_node: Node, letter: str) -> None:
    attributes = {f"{number}{letter * 50}": "x" for number in range(500)}
    attributes |= dict.fromkeys(("mode", "group", "fileName", "minValidity"), letter * 500)
    code, text = shared_node.refused(shared_node.request(attributes=attributes))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "unknown" in text
    assert text.isprintable()
    assert len(text.encode()) < 4096


def test_problems_that_have_no_room_are_counted(shared_node: Node) -> None:
    attributes = {f"{number}" + "\U000e0001" * 100: "x" for number in range(500)}
    _, text = shared_node.refused(shared_node.request(attributes={**attributes, "mode": "7777"}))
    named = text.count("is unknown")
    # Eight keys, the number of the other ones, and the mode.
    assert text.endswith(f"; and {10 - named} more problems")
