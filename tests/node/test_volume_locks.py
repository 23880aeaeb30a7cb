import grpc
import pytest

from tests.node.plugin import Node, outcome, refused, waiting_publish
from tests.waiting import until

pytestmark = pytest.mark.mounts


def test_calls_for_one_target_do_not_overlap(node: Node) -> None:
    first = waiting_publish(node)
    request = node.request()
    request.volume_id = "csi-v2"
    assert node.refused(request)[0] is grpc.StatusCode.ABORTED
    node.write_token("at-1")
    assert outcome(first)[0] is grpc.StatusCode.OK
    assert node.refused(request)[0] is grpc.StatusCode.ALREADY_EXISTS


def test_calls_for_one_volume_do_not_overlap_and_unpublish_ends_the_wait(node: Node) -> None:
    first = waiting_publish(node)
    assert node.refused(node.request())[0] is grpc.StatusCode.ABORTED
    assert refused(lambda: node.unpublish("v1"))[0] is grpc.StatusCode.ABORTED
    assert outcome(first)[0] is grpc.StatusCode.UNAVAILABLE
    node.unpublish()
    until(node.nothing_left, "the end of all")
