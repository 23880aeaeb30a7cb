import os
import socket
import stat
from pathlib import Path

import pytest

from csidriver.errors import DriverError
from csidriver.node.grpc_server import remove_if_ours
from tests.node.plugin import Node, names

pytestmark = pytest.mark.mounts


def test_the_sockets_are_for_root_alone(shared_node: Node) -> None:
    for path in (shared_node.socket, shared_node.registration):
        mode = path.stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) & 0o077 == 0
    assert names(shared_node.registration.parent) == [shared_node.registration.name]


def test_a_path_too_long_for_a_socket_is_refused_at_start(stopped_node: Node) -> None:
    folder = stopped_node.kubelet_dir / ("d" * 60)
    (folder / "pods").mkdir(parents=True)
    with pytest.raises(DriverError, match="107 bytes"):
        stopped_node.start(kubelet_dir=folder)


def test_sockets_are_replaced_and_taken_away(node: Node) -> None:
    both = (node.socket, node.registration)
    node.stop()
    assert not any(path.exists() for path in both)
    leftovers = [listening(path) for path in both]
    node.write_token("at-1")
    node.start()
    node.publish(node.request())
    for leftover in leftovers:
        leftover.close()
    node.stop()
    assert not any(path.exists() for path in both)


def listening(path: Path) -> socket.socket:
    """Somebody's socket."""
    theirs = socket.socket(socket.AF_UNIX)
    theirs.bind(str(path))
    return theirs


def test_a_socket_is_not_ours_because_it_has_the_same_inode_number(tmp_path: Path) -> None:
    """File systems give the number of a removed file to the next one."""
    ours = tmp_path / "sock"
    listening(ours).close()
    mine = ours.lstat()
    os.utime(ours, ns=(mine.st_atime_ns, mine.st_mtime_ns + 1))
    remove_if_ours(ours, mine)
    assert ours.exists()
    remove_if_ours(ours, ours.lstat())
    assert not ours.exists()
    remove_if_ours(ours, mine)
