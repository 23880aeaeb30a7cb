"""`make tools`: build or fetch what is missing, what a control plane needs first.

Prints one line per program, and meanwhile what is done and for how long.

`python -m tools keycloak` fetches Keycloak, which only `make test-keycloak` uses.
"""

import hashlib
import os
import shutil
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tools import programs
from tools.chromium import fetch_chromium
from tools.debian import fetch_etcd
from tools.programs import CHROMIUM, ETCD, KEYCLOAK, MODULES, OIDC_PROVIDER, Module, find
from tools.steps import Failed, draft_of, run


def main() -> int:
    """Everything, then the exit status: 1 if something could not be had."""
    steps: list[tuple[str, Callable[[], None]]] = [(KEYCLOAK, fetch_keycloak)]
    if sys.argv[1:] != [KEYCLOAK]:
        steps = [(ETCD, fetch_etcd)]
        steps += [(", ".join(m.packages), partial(build, m)) for m in MODULES]
        steps += [(OIDC_PROVIDER, fetch_oidc_provider), (CHROMIUM, fetch_chromium)]
    failures = []
    for name, step in steps:
        try:
            step()
        except Failed as error:
            failures.append(f"{name}: {error}")
        except KeyboardInterrupt:
            print(f"make tools: interrupted at {name}; what came before it stays", file=sys.stderr)
            return 130
    for failure in failures:
        print(f"make tools: {failure}", file=sys.stderr)
    return 1 if failures else 0


def build(module: Module) -> None:
    """Build a module's programs unless they are there."""
    if not (wanted := [name for name in module.packages if find(name) is None]):
        for name in module.packages:
            print(f"* {name}: {find(name)}")
        return
    if shutil.which("go") is None:
        raise Failed("Go is needed to build it (go.dev/dl, or your distribution)")
    home = module.home(os.environ)
    home.parent.mkdir(parents=True, exist_ok=True)
    print(f"* building {', '.join(wanted)}; the first time this takes minutes", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=home.parent) as draft:
        packages = [module.packages[name] for name in wanted]
        flags = ["-v", "-trimpath", f"-ldflags=-s -w {module.ldflags}", f"-o={draft}/"]
        environment = os.environ | {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false"}
        run(["go", "build", *flags, *packages], cwd=module.path, environment=environment)
        home.mkdir(exist_ok=True)
        size = sum(path.stat().st_size for path in Path(draft).iterdir()) >> 20
        for name in wanted:
            # rename(2): another clone may be building the same, and using it already.
            Path(draft, name).rename(home / name)
    print(f"* {', '.join(wanted)}: {home} ({size} MiB, {time.monotonic() - began:.0f} s)")


def fetch_oidc_provider() -> None:
    """Install oidc-provider from its lock; without npm its tests are skipped."""
    if (there := find(OIDC_PROVIDER)) is not None:
        print(f"* {OIDC_PROVIDER}: {there}")
        return
    if shutil.which("npm") is None or shutil.which("node") is None:
        print(f"* {OIDC_PROVIDER}: left out, for it needs Node.js >= 20 with npm")
        return
    home = programs.oidc_provider(os.environ)
    print(f"* fetching {OIDC_PROVIDER}", flush=True)
    with draft_of(home) as draft:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(programs.source(OIDC_PROVIDER) / name, draft)
        run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=draft)
    print(f"* {OIDC_PROVIDER}: {home}")


def fetch_keycloak() -> None:
    """Unpack Keycloak, and build what it would build at its first start."""
    if (there := find(KEYCLOAK)) is not None:
        print(f"* {KEYCLOAK}: {there}")
        return
    if shutil.which("mvn") is None or shutil.which("java") is None:
        raise Failed("Maven and Java >= 17 are needed to fetch and to run it")
    home = programs.keycloak(os.environ)
    print(f"* fetching {KEYCLOAK}; the first time this takes a minute", flush=True)
    with draft_of(home) as draft, tempfile.TemporaryDirectory(dir=home.parent) as box:
        copy = ["-DoutputDirectory=.", f"-Dartifact={programs.KEYCLOAK_ARTIFACT}"]
        run(["mvn", "-B", "-q", "dependency:copy", *copy], cwd=Path(box))
        (archive,) = Path(box).glob("*.tar.gz")
        if hashlib.sha256(archive.read_bytes()).hexdigest() != programs.KEYCLOAK_SHA256:
            raise Failed("the archive is not the one that programs.py names")
        with tarfile.open(archive) as tar:
            tar.extractall(box, filter="tar")
        (tree,) = Path(box).glob("keycloak-*/")
        shutil.copytree(tree, draft, dirs_exist_ok=True)
        run([f"{draft}/bin/kc.sh", "build", "--db=dev-mem"], cwd=draft)
    print(f"* {KEYCLOAK}: {home}")


if __name__ == "__main__":
    sys.exit(main())
