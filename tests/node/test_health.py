import socket
from pathlib import Path

import pytest

from csidriver.node.health import is_served, socket_problems
from tests.node.plugin import Node


def test_a_socket_without_a_process_is_not_served(tmp_path: Path) -> None:
    path = tmp_path / "s"
    assert not is_served(path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        assert not is_served(path)
        server.listen(0)
        assert is_served(path)
    assert not is_served(path)


def test_a_process_that_takes_no_connections_serves_its_socket(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen(0)
        with socket.socket(socket.AF_UNIX) as queued:
            queued.connect(str(path))
            assert is_served(path)


@pytest.mark.mounts
def test_a_plugin_that_runs_has_no_problem(node: Node) -> None:
    assert socket_problems(node.socket) == []
    node.stop()
    assert socket_problems(node.socket) == [f"{node.socket} does not answer: UNAVAILABLE"]
