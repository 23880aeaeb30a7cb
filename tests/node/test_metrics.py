import pytest

from tests.node.plugin import NAMESPACE, Node

pytestmark = pytest.mark.mounts
REMAINING = "oauth2_csi_node_token_remaining_seconds"
LABELS = {"namespace": NAMESPACE, "pod": "pod-1", "volume": "v1"}


def remaining(node: Node) -> float | None:
    return node.registry.get_sample_value(REMAINING, LABELS)


def test_the_life_left_in_a_file_is_reported_while_it_is_published(node: Node) -> None:
    node.write_token("at-1")
    assert remaining(node) is None
    node.publish(node.request())
    assert 0 < (remaining(node) or 0) <= 3600
    node.clock.ahead = 7200
    assert (remaining(node) or 0) < 0
    node.unpublish()
    assert remaining(node) is None
