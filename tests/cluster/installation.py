"""The objects of `deploy/install.yaml` by kind."""

import copy
from functools import cache
from pathlib import Path
from typing import Any

import yaml

INSTALL = Path(__file__).parents[2] / "deploy" / "install.yaml"
# What the roles that tests start as processes may do, and the Secret that one of them fills.
RIGHTS = (
    "Namespace",
    "Secret",
    "ServiceAccount",
    "Role",
    "RoleBinding",
    "ClusterRole",
    "ClusterRoleBinding",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
)

Manifest = dict[str, Any]


def manifests(*kinds: str, path: Path = INSTALL) -> list[Manifest]:
    found = [manifest for manifest in _parsed(path) if not kinds or manifest["kind"] in kinds]
    return copy.deepcopy(found)


def config_map(name: str) -> Manifest:
    (found,) = (each for each in manifests("ConfigMap") if each["metadata"]["name"] == name)
    return found


@cache
def _parsed(path: Path) -> tuple[Manifest, ...]:
    return tuple(manifest for manifest in yaml.safe_load_all(path.read_text()) if manifest)


def memory_limit(role: str) -> int:
    (pod,) = (
        workload["spec"]["template"]["spec"]
        for workload in manifests("Deployment", "DaemonSet")
        if workload["metadata"]["name"] == f"oauth2-csi-{role}"
    )
    (container,) = pod["containers"]
    return int(container["resources"]["limits"]["memory"].removesuffix("Mi")) << 20
