"""The programs only some tests use: what they are, where they lie, how they come there.

Everything is pinned beside this file, by go.mod and go.sum or package-lock.json; but for etcd
and Chromium, which Debian ships, and Keycloak, whose digest stands here.
"""

import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tools.steps import Failed

HERE = Path(__file__).parent
ETCD = "etcd"
OIDC_PROVIDER = "oidc-provider"
KEYCLOAK = "keycloak"
CHROMIUM = "chromium"
KEYCLOAK_ARTIFACT = "org.keycloak:keycloak-quarkus-dist:26.7.3:tar.gz"
KEYCLOAK_SHA256 = "77657f30b7e90d70f727712ce1c967f430fd6a5e9f458d32d8c6df0635345f47"


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
        digest = _digest(self.path, "go.mod", "go.sum")
        digest.update(repr((sorted(self.packages.items()), self.ldflags)).encode())
        return cache(environment) / f"{self.folder}-{digest.hexdigest()[:12]}"


def _kubernetes(*names: str) -> Module:
    packages = {name: f"k8s.io/kubernetes/cmd/{name}" for name in names}
    return Module("kubernetes", packages, "-X k8s.io/component-base/version.gitVersion=v1.36.2")


# What a module has been built for stays when another is added: kube-apiserver takes minutes.
MODULES = (
    _kubernetes("kube-apiserver", "kubectl"),
    _kubernetes("kube-controller-manager", "kube-proxy", "kube-scheduler", "kubelet"),
    Module(
        "helm",
        {"helm": "helm.sh/helm/v3/cmd/helm"},
        "-X helm.sh/helm/v3/internal/version.version=v3.22.0",
    ),
    Module("csi-sanity", {"csi-sanity": "github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity"}),
)


def cache(environment: Mapping[str, str]) -> Path:
    """Where built programs stay, outside of any clone; OAUTH2_CSI_TOOLS names another place."""
    if named := environment.get("OAUTH2_CSI_TOOLS"):
        return Path(named)
    home = environment.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    return Path(home) / "oauth2-csi-tools"


def source(name: str) -> Path:
    """Return the folder that describes how to build a program."""
    return HERE / name


def oidc_provider(environment: Mapping[str, str]) -> Path:
    """Where oidc-provider is kept: another folder for every other content of its lock."""
    digest = _digest(source(OIDC_PROVIDER), "package.json", "package-lock.json").hexdigest()
    return cache(environment) / f"{OIDC_PROVIDER}-{digest[:12]}"


def keycloak(environment: Mapping[str, str]) -> Path:
    """Where Keycloak is kept."""
    return cache(environment) / f"{KEYCLOAK}-{KEYCLOAK_ARTIFACT.split(':')[2]}"


def find(name: str, environment: Mapping[str, str] = os.environ) -> Path | None:
    """Find a program in KUBEBUILDER_ASSETS, else of `make tools`, else (etcd) in PATH.

    Return None if it is missing. Of a program of many files return the folder, if its interpreter
    exists too.
    """
    if name in _FOLDERS:
        home, runner = _FOLDERS[name]
        runs = shutil.which(runner, path=environment.get("PATH", ""))
        return home(environment) if runs and home(environment).is_dir() else None
    assets = environment.get("KUBEBUILDER_ASSETS")
    homes = [module.home(environment) for module in MODULES if name in module.packages]
    of_debian = [cache(environment) / folder for folder in ("debian", CHROMIUM)]
    places = [*([Path(assets)] if assets else []), *homes, *of_debian]
    found = next((place / name for place in places if os.access(place / name, os.X_OK)), None)
    if found is None and name == ETCD:
        on_path = shutil.which(name, path=environment.get("PATH", ""))
        return Path(on_path) if on_path else None
    return found


def program(name: str) -> Path:
    """Find a program, or raise Failed."""
    path = find(name)
    if path is None:
        raise Failed(f"{name} is missing: make tools")
    return path


def _digest(folder: Path, *names: str) -> "hashlib._Hash":
    digest = hashlib.sha256()
    for name in names:
        digest.update((folder / name).read_bytes())
    return digest


_FOLDERS = {OIDC_PROVIDER: (oidc_provider, "node"), KEYCLOAK: (keycloak, "java")}
