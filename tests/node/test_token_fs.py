import errno
import os
import stat
from pathlib import Path

import pytest

from csidriver.errors import InvalidSettings
from tests.node.plugin import Node, sub_path_mount
from tests.waiting import until


def test_the_view_is_the_only_mount_that_ends_with_the_process(published: Node) -> None:
    published.stop()
    assert not published.mounts_at(published.settings.view)
    assert len(published.mounts_at(published.token_folder)) == len(published.mounts_at()) == 1


def test_a_kubelet_folder_behind_a_symlink_is_recognised(node: Node) -> None:
    link, mounts = node.root / "link", len(node.mounts.table())
    link.symlink_to(node.kubelet_dir)
    for _ in range(2):
        node.stop()
        node.start(kubelet_dir=link)
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
    before = os.umask(0o077)
    try:
        node.publish(node.request())
    finally:
        os.umask(before)
    assert stat.S_IMODE(node.target().stat().st_mode) == 0o555
    assert stat.S_IMODE(node.token_folder.stat().st_mode) == 0o700
    assert refuses_writes(node.file())
    assert refuses_writes(node.target() / "new")
    assert refuses_writes(sub_path_mount(node))
    assert [mount.read_only for mount in node.mounts_at()] == [True]


def test_unpublish_takes_away_every_mount_of_ours(node: Node) -> None:
    node.write_token("at-1")
    node.publish(node.request())
    node.mounts.bind(node.target(), node.target())
    assert len(node.mounts_at()) == 2
    node.unpublish()
    until(node.nothing_left, "the end of all")
