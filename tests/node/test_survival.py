"""What else a node does to a plugin: it restarts kubelet, reboots, ends pods slowly, runs full."""

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from csidriver.core import names as core_names
from csidriver.demo.kubelet import Kubelet
from tests.node.killable_plugin import ForkServer, KillablePlugin, killable_plugin
from tests.node.plugin import NAMESPACE, SOURCE, TIMEOUT, Node, eventually, names

pytestmark = pytest.mark.mounts

PAGE = 4096


@pytest.fixture(scope="module")
def fork_server() -> Iterator[ForkServer]:
    with ForkServer() as fork_server:
        yield fork_server


@pytest.fixture
def node(fork_server: ForkServer) -> Iterator[KillablePlugin]:
    """A node with a running plugin, and a token."""
    with killable_plugin(fork_server) as node:
        node.write_token("at-1")
        node.start()
        yield node


def pod(name: str) -> dict[str, Any]:
    """Two volumes; a container sees the whole of one and one file of the other."""
    csi = {
        "driver": core_names.DRIVER_NAME,
        "readOnly": True,
        "volumeAttributes": {"secretName": SOURCE.name, "owner": "0"},
    }
    mounts = [
        {"name": "whole", "mountPath": "/tmp/whole"},
        {"name": "part", "mountPath": "/tmp/part", "subPath": "token"},
    ]
    return {
        "metadata": {"name": name},
        "spec": {
            "volumes": [{"name": volume, "csi": csi} for volume in ("whole", "part")],
            "containers": [{"name": "c", "volumeMounts": mounts}],
        },
    }


def registered(kubelet: Kubelet) -> None:
    kubelet.register(threading.Event(), TIMEOUT, lambda: None)


def rotates(node: KillablePlugin, files: list[Path], generation: int) -> None:
    value = f"at-{generation}"
    node.write_token(value, generation)
    eventually(lambda: {file.read_text() for file in files} == {value}, "the rotation")


def mounts_of(node: Node) -> Counter[str]:
    return Counter(mount.target for mount in node.mounts.table())


@pytest.mark.parametrize("plugin", ["stays", "restarts too"])
def test_three_restarts_of_kubelet_change_no_mount(node: KillablePlugin, plugin: str) -> None:
    """A restarted kubelet registers every plugin it finds and publishes every volume again."""
    kubelet = Kubelet(node.kubelet_dir, node.mounts, NAMESPACE)
    registered(kubelet)
    idle = mounts_of(node)
    roots = [
        container.root
        for name in ("pod-1", "pod-2")
        for container in kubelet.start(pod(name), node.root / "containers")
    ]
    files = [file for root in roots for file in (root / "tmp/whole/token", root / "tmp/part")]
    busy = mounts_of(node)
    assert busy.total() > idle.total()
    for generation in (2, 3, 4):
        if plugin == "restarts too":
            node.kill()
            node.start()
        registered(kubelet)
        kubelet.republish()
        assert mounts_of(node) == busy
        rotates(node, files, generation)
    kubelet.stop()
    assert mounts_of(node) == idle
    node.assert_only_published()


def reboot(node: KillablePlugin) -> None:
    """Processes and mounts are gone; folders and sockets stay, as they do on a disk."""
    node.kill()
    for mount in reversed(node.mounts.table()):
        if Path(mount.target).is_relative_to(node.root):
            node.mounts.unmount(Path(mount.target))
    Kubelet(node.kubelet_dir, node.mounts, NAMESPACE).prepare()


def test_a_reboot_leaves_no_token_and_volumes_come_and_go_afterwards(node: KillablePlugin) -> None:
    for volume in ("v1", "v2"):
        node.publish(node.request(volume))
    reboot(node)
    assert node.socket.is_socket()
    assert node.registration.is_socket()
    for folder in (node.target("v1"), node.target("v2"), node.token_folder):
        assert names(folder) == []
    node.write_token("at-2", 2)
    node.start()
    node.publish(node.request("v1"))
    node.unpublish("v2")
    assert node.content("v1") == "at-2"
    assert not node.target("v2").exists()
    node.assert_only_published("v1")
    rotates(node, [node.file("v1")], 3)


@pytest.mark.parametrize("plugin", ["lives on", "is killed meanwhile"])
def test_a_pod_that_shuts_down_gets_new_tokens_to_its_end(
    node: KillablePlugin, plugin: str
) -> None:
    """Kubelet publishes no volume of such a pod again, neither soon nor after a restart."""
    node.publish(node.request())
    file = node.root / "in-the-container"
    file.touch()
    node.mounts.bind(node.file(), file)
    for generation in (2, 4):
        if plugin == "is killed meanwhile":
            node.kill()
            node.write_token("at-meanwhile", generation)
            node.start()
            eventually(lambda: file.read_text() == "at-meanwhile", "the rotation after a restart")
        rotates(node, [file, node.file()], generation + 1)
    node.unpublish()
    assert file.read_text() == ""


def test_a_full_file_system_tears_no_file_and_stops_no_rotation_that_fits(
    fork_server: ForkServer,
) -> None:
    with killable_plugin(fork_server) as node:
        node.settings = replace(node.settings, size=8 * PAGE)
        node.write_token("at-1")
        node.start()
        node.publish(node.request())
        filler = node.token_folder / "filler"
        with pytest.raises(OSError, match="No space"):
            filler.write_bytes(b"x" * 9 * PAGE)
        rotates(node, [node.file()], 2)
        node.write_token("n" * 2 * PAGE, 3)
        eventually(lambda: "file system of this node is full" in node.log(), "the refusal")
        assert node.content() == "at-2"
        filler.unlink()
        eventually(lambda: node.content() == "n" * 2 * PAGE, "the rotation")
