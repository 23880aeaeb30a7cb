import socket
from pathlib import Path

from csidriver.node.health import is_served, socket_problems


def test_a_socket_is_served_while_a_process_listens_and_takes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "s"
    assert not is_served(path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        assert not is_served(path)
        server.listen(0)
        # The first connection fills the queue.
        assert is_served(path)
        assert is_served(path)
    assert not is_served(path)
    assert socket_problems(path) == [f"{path} does not answer: UNAVAILABLE"]
