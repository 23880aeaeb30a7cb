"""The image: what it has, what it has not, and what it takes to run."""

import json
import tarfile
from pathlib import Path
from typing import Any

from tests.e2e.cluster import Cluster, until
from tests.e2e.user_namespace import UserNamespace, pod, python

_LIMIT = 150_000_000
_SCRIPT = (Path(__file__).parent / "pods/inventory.py").read_text(encoding="utf-8")


def test_it_is_small_and_runs_as_nobody(e2e: Cluster) -> None:
    with tarfile.open(e2e.own.archive) as archive:

        def read(name: str) -> Any:
            member = archive.extractfile(name)
            assert member is not None
            return json.load(member)

        (manifest,) = read("manifest.json")
        config = read(manifest["Config"])
        sizes = [archive.getmember(layer).size for layer in manifest["Layers"]]
    assert config["config"]["User"] == "65532:65532"
    ours = [step["created_by"] for step in config["history"]].index(_first(config))
    base = sum(not step.get("empty_layer", False) for step in config["history"][:ours])
    added = sum(sizes[base:])
    assert added < _LIMIT, f"{added / 1e6:.0f} MB on a base of {sum(sizes[:base]) / 1e6:.0f} MB"


def _first(config: dict[str, Any]) -> str:
    """The first step of the Dockerfile's last stage."""
    steps = [step["created_by"] for step in config["history"]]
    return str(next(step for step in steps if "org.opencontainers.image.title" in step))


def test_it_has_nothing_to_build_or_install_with(user: UserNamespace) -> None:
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
