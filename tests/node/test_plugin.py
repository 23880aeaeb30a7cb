import pytest

from tests.node.plugin import Node
from tests.node.test_registration import register

pytestmark = pytest.mark.mounts


def test_ready_means_registered_and_alive_means_that_the_socket_answers(node: Node) -> None:
    assert node.plugin.alive() == []
    assert node.plugin.ready() == ["kubelet has not registered the plugin"]
    register(node)
    assert node.plugin.ready() == []
    (node.token_folder / ".probe").mkdir()
    assert any("cannot be written" in problem for problem in node.plugin.ready())
    (node.token_folder / ".probe").rmdir()
    node.stop()
    problems = (f"{node.socket} does not answer: UNAVAILABLE", f"{node.registration} is missing")
    assert set(problems) <= set(node.plugin.alive())
