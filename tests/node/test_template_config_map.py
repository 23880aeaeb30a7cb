import grpc
import pytest

from tests.node.plugin import NAMESPACE, Node, give_template, outcome
from tests.waiting import until

pytestmark = pytest.mark.mounts


def test_a_template_of_a_config_map_is_kept_for_the_life_of_the_pod(node: Node) -> None:
    give_template(node, "first $(ACCESS_TOKEN)\n")
    node.write_token("at-1")
    request = node.request(attributes={"templateConfigMapName": "shape"})
    node.publish(request)
    assert node.content() == "first at-1\n"
    give_template(node, "second $(ACCESS_TOKEN)")
    node.publish(request)
    node.write_token("at-2", 2)
    until(lambda: node.content() == "first at-2\n", "rotation")
    node.store.remove("ConfigMap", NAMESPACE, "shape")
    node.stop()
    node.start()
    node.write_token("at-3", 3)
    until(lambda: node.content() == "first at-3\n", "rotation")


@pytest.mark.parametrize(
    ("template", "code"),
    [
        pytest.param(None, grpc.StatusCode.NOT_FOUND, id="key missing"),
        pytest.param("", grpc.StatusCode.OK, id="empty"),
        pytest.param("$(NOPE)", grpc.StatusCode.INVALID_ARGUMENT, id="unknown name"),
        pytest.param("$(ACCESS_TOKEN)" * 4000, grpc.StatusCode.INVALID_ARGUMENT, id="too much"),
    ],
)
def test_a_template_that_does_not_work_fails_the_first_publish(
    node: Node, template: str | None, code: grpc.StatusCode
) -> None:
    node.write_token("at-" + "1" * 100)
    request = node.request(attributes={"templateConfigMapName": "shape"})
    missing, text = node.refused(request)
    assert (missing, f"{NAMESPACE}/shape" in text) == (grpc.StatusCode.NOT_FOUND, True)
    give_template(node, template)
    assert outcome(node.publish_async(request))[0] is code
    assert code is grpc.StatusCode.OK or not node.target().exists()
