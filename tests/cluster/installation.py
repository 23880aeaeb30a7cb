"""What `deploy/install.yaml` brings to a cluster, by kind."""

import copy
from functools import cache
from pathlib import Path
from typing import Any

import yaml

INSTALL = Path(__file__).parents[2] / "deploy" / "install.yaml"
# Who may do what, and where: all that roles need that a test starts by itself.
RIGHTS = ("Namespace", "ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")

Manifest = dict[str, Any]


def manifests(*kinds: str, path: Path = INSTALL) -> list[Manifest]:
    """The objects of a manifest file, or those of some kinds."""
    found = [manifest for manifest in _parsed(path) if not kinds or manifest["kind"] in kinds]
    return copy.deepcopy(found)


@cache
def _parsed(path: Path) -> tuple[Manifest, ...]:
    return tuple(manifest for manifest in yaml.safe_load_all(path.read_text()) if manifest)
