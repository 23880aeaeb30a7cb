"""The image: what it has not, and what it takes to run."""

import json
from pathlib import Path

from tests.e2e.cluster import until
from tests.e2e.user_namespace import UserNamespace, pod, python

_SCRIPT = (Path(__file__).parent / "pods/inventory.py").read_text(encoding="utf-8")


def test_it_runs_as_nobody_and_has_nothing_to_build_or_install_with(user: UserNamespace) -> None:
    restricted = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    main = python(user.cluster.image, _SCRIPT) | {"securityContext": restricted}
    user.apply(pod("inventory", main=main, restartPolicy="Never"))
    until("it ran", lambda: user.get("pod", "inventory")["status"]["phase"] == "Succeeded")
    assert json.loads(user.kubectl("logs", "inventory")) == {
        "programs": [],
        "modules": [],
        "gain_rights": [],
        "not_compiled": [],
    }
