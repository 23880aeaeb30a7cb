import threading

import pytest

from csidriver.core.names import DRIVER_NAME
from csidriver.demo.kubelet import Kubelet, KubeletError
from tests.node.plugin import NAMESPACE, Node
from tests.waiting import TIMEOUT

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
