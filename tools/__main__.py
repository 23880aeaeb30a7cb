"""`make tools`: build or fetch what is missing. Prints one line per program."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tools.programs import ETCD, MODULES, Module, cache, find


class Failed(Exception):
    """A program could not be had; the text says why and what helps."""


def main() -> int:
    """Everything, then the exit status: 1 if something could not be had."""
    failures = []
    for module in MODULES:
        try:
            build(module)
        except Failed as error:
            failures.append(f"{', '.join(module.packages)}: {error}")
    try:
        fetch_etcd()
    except Failed as error:
        failures.append(f"{ETCD}: {error}")
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
        flags = ["-trimpath", f"-ldflags=-s -w {module.ldflags}", f"-o={draft}/"]
        environment = os.environ | {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false"}
        run(["go", "build", *flags, *packages], cwd=module.path, environment=environment)
        home.mkdir(exist_ok=True)
        for name in wanted:
            # rename(2): another clone may be building the same, and using it already.
            Path(draft, name).rename(home / name)
    print(f"* {', '.join(wanted)}: {home} ({time.monotonic() - began:.0f} s)")


def fetch_etcd() -> None:
    """Unpack Debian's etcd-server into the cache; nothing is installed, no service is started."""
    if (there := find(ETCD)) is not None:
        print(f"* {ETCD}: {there}")
        return
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise Failed("install etcd >= 3.4 so that it is on PATH, or name KUBEBUILDER_ASSETS")
    home = cache(os.environ) / "debian"
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent) as draft:
        try:
            run(["apt-get", "download", "etcd-server"], cwd=Path(draft))
        except Failed:
            # A new machine has no package lists yet.
            run(["apt-get", "update"], cwd=Path(draft))
            run(["apt-get", "download", "etcd-server"], cwd=Path(draft))
        (package,) = Path(draft).glob("*.deb")
        run(["dpkg-deb", "--extract", str(package), f"{draft}/tree"], cwd=Path(draft))
        Path(draft, "tree/usr/bin", ETCD).rename(home / ETCD)
    print(f"* {ETCD}: {home / ETCD}")


def run(command: list[str], *, cwd: Path, environment: dict[str, str] | None = None) -> None:
    """A command, whose output is shown only if it fails."""
    done = subprocess.run(  # noqa: S603 - the commands are above
        command, cwd=cwd, env=environment, check=False, capture_output=True, text=True
    )
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise Failed(f"{' '.join(command[:2])} ended with {done.returncode}:\n{tail}")


if __name__ == "__main__":
    sys.exit(main())
