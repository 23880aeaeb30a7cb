import errno
import os
import stat
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from csidriver.adapters.clock import SystemClock
from csidriver.errors import InvalidSettings
from csidriver.node.plugin import NodePlugin
from tests.node.plugin import Node, eventually, sub_path_mount


def test_the_view_is_the_only_mount_that_ends_with_the_process(published: Node) -> None:
    published.stop()
    assert not published.mounts_at(published.settings.view)
    assert len(published.mounts_at(published.token_folder)) == len(published.mounts_at()) == 1


def test_a_view_that_a_killed_process_left_is_replaced(published: Node) -> None:
    published.stop()
    published.mounts.bind_read_only(published.token_folder, published.settings.view)
    published.start()
    assert len(published.mounts_at(published.settings.view)) == 1
    published.publish(published.request("v2"))
    assert published.content("v2") == "at-1"


def test_a_kubelet_folder_behind_a_symlink_is_recognised(node: Node) -> None:
    node.stop()
    link = node.root / "link"
    link.symlink_to(node.kubelet_dir)
    settings = replace(node.settings, kubelet_dir=link)
    mounts = len(node.mounts.table())
    for _ in range(2):
        plugin = NodePlugin(
            settings, node.plugin_store, node.mounts, SystemClock(), CollectorRegistry()
        )
        stop = threading.Event()
        stop.set()
        plugin.run(stop)
    assert len(node.mounts.table()) == mounts


@pytest.mark.parametrize("private", ["plugins", "pods"])
def test_a_node_without_mount_propagation_is_refused(stopped_node: Node, private: str) -> None:
    folder = stopped_node.kubelet_dir / private
    stopped_node.mounts.bind(folder, folder)
    stopped_node.mounts.make_private(folder)
    with pytest.raises(InvalidSettings, match="shared"):
        stopped_node.start()
    assert not stopped_node.mounts_at(stopped_node.token_folder)
    assert not stopped_node.socket.exists()


def refuses_writes(path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
    except OSError as error:
        return error.errno == errno.EROFS
    return False


def test_nobody_writes_through_a_volume(node: Node) -> None:
    node.write_token("at-1")
    node.publish(node.request())
    assert stat.S_IMODE(node.target().stat().st_mode) == 0o555
    assert refuses_writes(node.file())
    assert refuses_writes(node.target() / "new")
    assert refuses_writes(sub_path_mount(node))
    assert [mount.read_only for mount in node.mounts_at()] == [True]


def test_a_volume_can_be_listed_whatever_the_umask(node: Node) -> None:
    node.write_token("at-1")
    before = os.umask(0o077)
    try:
        node.publish(node.request())
    finally:
        os.umask(before)
    assert stat.S_IMODE(node.target().stat().st_mode) == 0o555
    assert stat.S_IMODE(node.token_folder.stat().st_mode) == 0o700


def test_unpublish_takes_away_every_mount_of_ours(node: Node) -> None:
    node.write_token("at-1")
    node.publish(node.request())
    node.mounts.bind(node.target(), node.target())
    assert len(node.mounts_at()) == 2
    node.unpublish()
    eventually(node.nothing_left, "the end of all")
