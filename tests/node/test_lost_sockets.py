"""Somebody removes or replaces a socket of a running plugin, or its folder."""

import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from csidriver.errors import DriverError
from tests.node.plugin import Node, _inode, eventually
from tests.node.test_registration import DRIVER, register

pytestmark = pytest.mark.mounts

Sabotage = Callable[[Path], object]
SOCKETS = {"csi": lambda node: node.socket, "registration": lambda node: node.registration}
every_socket = pytest.mark.parametrize("which", SOCKETS)


def remove(path: Path) -> None:
    path.unlink()


def replace_by_dead_socket(path: Path) -> None:
    path.unlink()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))


def replace_by_file(path: Path) -> None:
    path.unlink()
    path.touch()


def replace_by_dangling_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def rename(path: Path) -> None:
    path.rename(path.with_name("away"))


def rename_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("away"))


def replace_folder(path: Path) -> None:
    rename_folder(path)
    path.parent.mkdir()


LOSSES = [
    remove,
    replace_by_dead_socket,
    replace_by_file,
    replace_by_dangling_link,
    rename,
    rename_folder,
    replace_folder,
]
every_loss = pytest.mark.parametrize("sabotage", LOSSES)


@every_socket
@every_loss
def test_a_lost_socket_is_made_again_within_seconds_and_kubelet_registers_it(
    published: Node, which: str, sabotage: Sabotage
) -> None:
    register(published)
    path, registered = SOCKETS[which](published), "oauth2_csi_node_registered"
    before = _inode(path)
    sabotage(path)
    eventually(lambda: path.is_socket() and _inode(path) != before, "a new socket", 20)
    eventually(lambda: published.plugin.alive() == [], "life")
    assert published.metric(registered) == (which == "csi")
    assert register(published) == DRIVER
    assert published.plugin.ready() == []
    assert published.metric(registered) == 1
    published.publish(published.request())
    published.publish(published.request("v2"))
    published.write_token("at-2", 2)
    eventually(lambda: published.content() == published.content("v2") == "at-2", "the rotation")
    published.unpublish()
    assert not published.target().exists()


@every_socket
@every_loss
def test_the_probes_say_that_a_socket_is_lost(
    stopped_node: Node, which: str, sabotage: Sabotage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("csidriver.node.plugin.CHECK_EVERY", 600.0)
    stopped_node.start()
    path = SOCKETS[which](stopped_node)
    assert stopped_node.plugin.alive() == []
    sabotage(path)
    assert any(str(path) in problem for problem in stopped_node.plugin.alive())


def block(path: Path) -> None:
    path.unlink()
    path.mkdir()


def block_folder(path: Path) -> None:
    rename_folder(path)
    path.parent.touch()


@every_socket
@pytest.mark.parametrize("sabotage", [block, block_folder])
def test_a_socket_that_cannot_be_made_again_ends_the_process(
    node: Node, which: str, sabotage: Sabotage
) -> None:
    path = SOCKETS[which](node)
    sabotage(path)
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


class Container:
    """A plugin whose folders are bind mounts of the node's, which are beside them."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.folders = {
            "plugin": node.settings.plugin_dir,
            "pods": node.settings.pods,
            "registry": node.registration.parent,
        }
        for folder in self.folders.values():
            self.on_node(folder).mkdir(parents=True)
            folder.mkdir(exist_ok=True)

    @staticmethod
    def on_node(folder: Path) -> Path:
        return folder.with_name(f"{folder.name}-on-node")

    def start(self) -> None:
        """Start a process as the container runtime does: with the folders that are there now."""
        for folder in self.folders.values():
            while self.node.mounts.unmount(folder):
                pass
            self.on_node(folder).mkdir(exist_ok=True)
            self.node.mounts.bind(self.on_node(folder), folder)
        self.node.start()


@pytest.fixture
def container(stopped_node: Node) -> Container:
    container = Container(stopped_node)
    container.start()
    return container


@pytest.mark.parametrize("kind", ["renamed", "replaced", "removed", "covered"])
@pytest.mark.parametrize("name", ["plugin", "pods", "registry"])
def test_a_lost_folder_ends_the_process_and_the_next_one_has_the_new_folder(
    container: Container, name: str, kind: str
) -> None:
    """A container keeps the folder that it was started with, so only a restart helps."""
    node, folder = container.node, container.folders[name]
    on_node = container.on_node(folder)
    register(node)
    if kind == "covered":
        node.mounts.mount_tmpfs(folder, size=1 << 16, inodes=10)
    elif kind == "removed":
        while node.mounts.unmount(on_node / "tokens"):
            pass
        shutil.rmtree(on_node)
    else:
        on_node.rename(on_node.with_name("away"))
    if kind == "replaced":
        on_node.mkdir()
    with pytest.raises(DriverError, match=f"{folder} was removed, renamed or covered"):
        node.join()
    container.start()
    assert register(node) == DRIVER
    node.write_token("at-1")
    node.publish(node.request())
    assert node.content() == "at-1"
