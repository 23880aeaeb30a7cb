"""The stand-in for kubelet against a real plugin."""

import threading
from pathlib import Path

import pytest

from csidriver.adapters.mounts import Mounts
from csidriver.core.names import DRIVER_NAME
from csidriver.demo.kubelet import Kubelet, KubeletError
from tests.node.plugin import NAMESPACE, SOURCE, TIMEOUT, Node, eventually

pytestmark = pytest.mark.mounts
MANIFEST = {
    "metadata": {"name": "reader"},
    "spec": {
        "volumes": [
            {
                "name": "token",
                "csi": {
                    "driver": DRIVER_NAME,
                    "readOnly": True,
                    "volumeAttributes": {"secretName": SOURCE.name, "owner": "0"},
                },
            },
            {"name": "scratch", "emptyDir": {}},
        ],
        "containers": [
            {
                "name": "main",
                "volumeMounts": [
                    {"name": "token", "mountPath": "/folder"},
                    {"name": "token", "mountPath": "/tmp/file", "subPath": "token"},
                    {"name": "scratch", "mountPath": "/scratch"},
                ],
            }
        ],
    },
}


def check() -> None:
    """Every process runs."""


def test_a_pod_sees_its_token_until_it_is_removed(node: Node) -> None:
    kubelet = Kubelet(node.kubelet_dir, node.mounts, NAMESPACE)
    assert kubelet.register(threading.Event(), TIMEOUT, check) == DRIVER_NAME
    node.write_token("at-1")
    (container,) = kubelet.start(MANIFEST, node.root / "containers")
    try:
        for file in (container.root / "folder/token", container.root / "tmp/file"):
            assert file.read_text() == "at-1"
        kubelet.republish()
        node.write_token("at-2", 2)
        eventually(lambda: (container.root / "tmp/file").read_text() == "at-2", "the rotation")
        assert len(kubelet.call_seconds["NodePublishVolume"]) == 2
    finally:
        kubelet.stop()
    pods = node.kubelet_dir / "pods"
    left = [m.target for m in node.mounts.table() if Path(m.target).is_relative_to(pods)]
    assert left == []
    assert not (container.root / "folder/token").exists()


def test_a_refused_publish_is_reported_as_kubelet_does(node: Node) -> None:
    kubelet = Kubelet(node.kubelet_dir, node.mounts, NAMESPACE)
    kubelet.register(threading.Event(), TIMEOUT, check)
    volume = {"name": "token", "csi": {"driver": DRIVER_NAME, "readOnly": True}}
    spec = {"volumes": [volume], "containers": []}
    try:
        with pytest.raises(KubeletError, match="code = INVALID_ARGUMENT desc = "):
            kubelet.start({"metadata": {"name": "faulty"}, "spec": spec}, node.root / "containers")
    finally:
        kubelet.stop()


def test_without_a_plugin_the_registration_ends(tmp_path: Path) -> None:
    kubelet = Kubelet(tmp_path, Mounts(), NAMESPACE)
    with pytest.raises(KubeletError, match="no plugin has registered"):
        kubelet.register(threading.Event(), 0.0, check)
