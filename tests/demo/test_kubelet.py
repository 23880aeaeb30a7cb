import threading
from pathlib import Path

import pytest

from csidriver.adapters.mounts import Mounts
from csidriver.core.names import DRIVER_NAME
from csidriver.demo.kubelet import Kubelet, KubeletError
from tests.node.plugin import NAMESPACE, TIMEOUT, Node

pytestmark = pytest.mark.mounts


def check() -> None:
    """Every process runs."""


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
