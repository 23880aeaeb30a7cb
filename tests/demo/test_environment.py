"""The demo's parts that need no other process."""

import threading
from pathlib import Path

from csidriver.core.names import TEMPLATE_KEY
from csidriver.demo.environment import NAMESPACE, SOURCE, Environment


def test_admission_adds_a_volume_to_each_pod_of_the_announcement(tmp_path: Path) -> None:
    with Environment(tmp_path, 20.0, threading.Event()) as environment:
        pods = environment.admit_pods()
        assert [pod.before["metadata"]["name"] for pod in pods] == [
            "token-printer-pod",
            "token-printer-eos-pod",
        ]
        for pod in pods:
            added = len(pod.after["spec"]["volumes"]) - len(pod.before["spec"].get("volumes", []))
            assert added == 1
        template = environment.store.get_config_map(NAMESPACE, "oauth-token-eos-template")
        assert template is not None
        assert TEMPLATE_KEY in template


def test_the_example_is_applied_as_a_user_does(tmp_path: Path) -> None:
    with Environment(tmp_path, 20.0, threading.Event()) as environment:
        environment.apply_secret()
        assert environment.store.get_secret(SOURCE.namespace, SOURCE.name) is not None
        assert environment.rows() == []
