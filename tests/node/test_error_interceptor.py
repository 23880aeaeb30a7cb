import grpc
import pytest

from tests.node.plugin import Node

pytestmark = pytest.mark.mounts


def test_problems_that_have_no_room_are_counted(shared_node: Node) -> None:
    attributes = {f"{number}" + "\U000e0001" * 100: "x" for number in range(500)}
    code, text = shared_node.refused(shared_node.request(attributes={**attributes, "mode": "7777"}))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert text.isprintable()
    assert len(text.encode()) < 4096
    named = text.count("is unknown")
    # Eight keys, the number of the other ones, and the mode.
    assert text.endswith(f"; and {10 - named} more problems")
