"""Somebody removes or replaces a socket of a running plugin, or its folder."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from csidriver.errors import DriverError
from tests.node.plugin import Node, _inode
from tests.node.test_registration import DRIVER, register
from tests.waiting import until

pytestmark = pytest.mark.mounts

Sabotage = Callable[[Path], object]
SOCKETS = {"csi": lambda node: node.socket, "registration": lambda node: node.registration}
every_socket = pytest.mark.parametrize("which", SOCKETS)


def replace_by_dead_socket(path: Path) -> None:
    path.unlink()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))


def rename_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("away"))


@every_socket
@pytest.mark.parametrize("sabotage", [replace_by_dead_socket, rename_folder])
def test_a_lost_socket_is_made_again_within_seconds_and_kubelet_registers_it(
    published: Node, which: str, sabotage: Sabotage
) -> None:
    register(published)
    path, registered = SOCKETS[which](published), "oauth2_csi_node_registered"
    before = _inode(path)
    sabotage(path)
    until(lambda: path.is_socket() and _inode(path) != before, "a new socket", 20)
    until(lambda: published.plugin.alive() == [], "life")
    assert published.metric(registered) == (which == "csi")
    assert register(published) == DRIVER
    assert published.plugin.ready() == []
    assert published.metric(registered) == 1
    published.publish(published.request("v2"))
    published.write_token("at-2", 2)
    until(lambda: published.content() == published.content("v2") == "at-2", "the rotation")


@every_socket
def test_a_socket_that_cannot_be_made_again_ends_the_process(node: Node, which: str) -> None:
    path = SOCKETS[which](node)
    path.unlink()
    path.mkdir()
    with pytest.raises(DriverError, match=f"{path.name} cannot be bound: .*(directory|exists)"):
        node.join()


@every_socket
def test_the_socket_of_a_newer_process_is_left_to_it(
    stopped_node: Node, which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("csidriver.node.plugin.CHECK_EVERY", 0.01)
    stopped_node.start()
    path = SOCKETS[which](stopped_node)
    draft = path.with_name("draft")
    with socket.socket(socket.AF_UNIX) as newer:
        newer.bind(str(draft))
        newer.listen()
        newer.settimeout(8)
        draft.rename(path)
        theirs = _inode(path)
        # The plugin looks whether somebody listens.
        connected, _ = newer.accept()
        connected.close()
        stopped_node.stop()
        assert _inode(path) == theirs


def folders(node: Node) -> list[Path]:
    return [node.settings.plugin_dir, node.settings.pods, node.registration.parent]


def on_node(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}-on-node")


def start_container(node: Node) -> None:
    """Start a process as the container runtime does: with the folders that are there now."""
    for folder in folders(node):
        folder.mkdir(exist_ok=True, parents=True)
        while node.mounts.unmount(folder):
            pass
        on_node(folder).mkdir(exist_ok=True, parents=True)
        node.mounts.bind(on_node(folder), folder)
    node.start()


@pytest.mark.parametrize("number", range(3), ids=["plugin replaced", "pods removed", "registry"])
def test_a_lost_folder_ends_the_process_and_the_next_one_has_the_new_folder(
    stopped_node: Node, number: int
) -> None:
    """A container keeps the folder that it was started with, so only a restart helps."""
    node, folder = stopped_node, folders(stopped_node)[number]
    start_container(node)
    if number == 2:
        node.mounts.mount_tmpfs(folder, size=1 << 16, inodes=10)
    else:
        on_node(folder).rename(folder.with_name("away"))
    if number == 0:
        on_node(folder).mkdir()
    with pytest.raises(DriverError, match=f"{folder} was removed, renamed or covered"):
        node.join()
    start_container(node)
    assert register(node) == DRIVER
    node.write_token("at-1")
    node.publish(node.request())
    assert node.content() == "at-1"
