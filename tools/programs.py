"""The programs only some tests use: what they are, where they lie, how they come there.

Everything is pinned by the go.mod and go.sum beside this file, but for etcd, which Debian ships.
"""

import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ETCD = "etcd"


@dataclass(frozen=True, slots=True)
class Module:
    """A folder with a go.mod: program name -> Go package, and the version they report."""

    folder: str
    packages: Mapping[str, str]
    ldflags: str = ""

    @property
    def path(self) -> Path:
        """Where its go.mod lies."""
        return HERE / self.folder

    def home(self, environment: Mapping[str, str]) -> Path:
        """Where its programs are kept: another folder for every other content of go.mod."""
        digest = hashlib.sha256()
        for name in ("go.mod", "go.sum"):
            digest.update((self.path / name).read_bytes())
        digest.update(repr((sorted(self.packages.items()), self.ldflags)).encode())
        return cache(environment) / f"{self.folder}-{digest.hexdigest()[:12]}"


MODULES = (
    Module(
        "kubernetes",
        {name: f"k8s.io/kubernetes/cmd/{name}" for name in ("kube-apiserver", "kubectl")},
        "-X k8s.io/component-base/version.gitVersion=v1.36.2",
    ),
    Module("csi-sanity", {"csi-sanity": "github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity"}),
)


def cache(environment: Mapping[str, str]) -> Path:
    """Where built programs stay, outside of any clone; OAUTH2_CSI_TOOLS names another place."""
    if named := environment.get("OAUTH2_CSI_TOOLS"):
        return Path(named)
    home = environment.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    return Path(home) / "oauth2-csi-tools"


def find(name: str, environment: Mapping[str, str] = os.environ) -> Path | None:
    """A program of KUBEBUILDER_ASSETS, else of `make tools`, else (etcd) of PATH; None if none."""
    assets = environment.get("KUBEBUILDER_ASSETS")
    homes = [module.home(environment) for module in MODULES if name in module.packages]
    places = [*([Path(assets)] if assets else []), *homes, cache(environment) / "debian"]
    found = next((place / name for place in places if os.access(place / name, os.X_OK)), None)
    if found is None and name == ETCD:
        on_path = shutil.which(name, path=environment.get("PATH", ""))
        return Path(on_path) if on_path else None
    return found
