"""`make image`: build the Dockerfile with what is there, and write it as an archive.

Without docker, podman and buildah, root gets a buildah of Debian's in a folder (see debian.py).
"""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from csidriver import __version__
from tools.debian import ALONE, BASE, NODE, fetch_root, pack
from tools.programs import HERE, cache
from tools.steps import Failed

CLONE = HERE.parent
# What the chart names.
IMAGE = f"localhost/oauth2-csi:{__version__}"
LOCAL = "local"
_HINT = (
    "if no registry can be reached, root makes the base of Debian's packages: "
    "make image BASE_IMAGE=local"
)
LOCAL_BASE = "localhost/oauth2-csi-base:latest"
ARCHIVE = CLONE / "build/oauth2-csi.tar"
CERTIFICATES = Path("/etc/ssl/certs")
# Handed on to pip in the build; a path of PIP_CERT must lie in CERTIFICATES.
_PIP = ("PIP_CERT", "PIP_INDEX_URL")


@dataclass(frozen=True, slots=True)
class Build:
    """An image to build: its name, the folder it is built from, and its build arguments.

    `stage` is one before the last that is worth keeping for the next time.
    """

    name: str
    context: Path
    arguments: Mapping[str, str]
    stage: str = ""


def main() -> int:
    """Build IMAGE on BASE_IMAGE and write ARCHIVE; the exit status."""
    base = os.environ.get("BASE_IMAGE", "")
    try:
        archive = make(os.environ.get("IMAGE") or IMAGE, base, ARCHIVE)
    except Failed as error:
        hint = "" if base else f"; {_HINT}"
        print(f"make image: {error}{hint}", file=sys.stderr)
        return 1
    print(f"* {archive}: `ctr -n k8s.io images import` or `docker load` takes it")
    return 0


def make(
    name: str,
    base: str,
    archive: Path,
    builder: "Builder | None" = None,
    *,
    tree: Path = CLONE,
) -> Path:
    """Build the image of a tree; `base` empty for the Dockerfile's, LOCAL to make one here."""
    builder = builder or find_builder()
    arguments = {key: os.environ[key] for key in _PIP if os.environ.get(key)}
    with alone():
        if base == LOCAL:
            make_local_base(builder)
            base = LOCAL_BASE
        if base:
            arguments["BASE_IMAGE"] = base
        builder.build(Build(name, tree, arguments, "build"))
        builder.save(name, archive)
    return archive


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Wait while another clone uses the builder, which may build an image of the same name."""
    cache(os.environ).mkdir(parents=True, exist_ok=True)
    with (cache(os.environ) / "image.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def make_local_base(builder: "Builder") -> None:
    """Have Debian's Python as an image, where no registry can be reached."""
    recipe = f'FROM scratch\nADD {pack(BASE).name} /\nCMD ["python3"]\n'
    with tempfile.TemporaryDirectory(dir=cache(os.environ)) as box:
        Path(box, "Dockerfile").write_text(recipe)
        os.link(pack(BASE), Path(box, pack(BASE).name))
        builder.build(Build(LOCAL_BASE, Path(box), {}))


class Builder:
    """Docker or podman: both understand the same."""

    def __init__(self, program: str) -> None:
        self._program = program

    def build(self, build: Build) -> None:
        """Build an image into the program's own store, where its name is taken from another."""
        flags = [f"--build-arg={key}={value}" for key, value in build.arguments.items()]
        run([self._program, "build", f"--tag={build.name}", *flags, str(build.context)])

    def save(self, name: str, archive: Path) -> None:
        """Write an image as an archive."""
        archive.parent.mkdir(parents=True, exist_ok=True)
        archive.unlink(missing_ok=True)
        run([self._program, "save", f"--output={archive}", name])


class Buildah(Builder):
    """Buildah of this machine, which needs neither a daemon nor a container of its own."""

    def __init__(self, program: str = "buildah", store: Sequence[str] = ()) -> None:
        super().__init__(program)
        self._store = store

    def build(self, build: Build) -> None:
        """Build an image; layers that did not change are taken from the last time."""
        flags = [f"--build-arg={key}={value}" for key, value in build.arguments.items()]
        if CERTIFICATES.is_dir():
            flags += [f"--volume={CERTIFICATES}:{CERTIFICATES}:ro"]
        flags += ["--isolation=chroot", "--layers"]
        names = {f"{build.name}-{build.stage}": [f"--target={build.stage}"]} if build.stage else {}
        for name, target in (names | {build.name: []}).items():
            tag = f"--tag={name}"
            self._run("bud", *flags, *target, tag, str(build.context), folder=build.context)

    def save(self, name: str, archive: Path) -> None:
        """Write an image as an archive."""
        archive.parent.mkdir(parents=True, exist_ok=True)
        archive.unlink(missing_ok=True)
        self._run("push", name, f"docker-archive:{archive}:{name}", folder=archive.parent)

    def _run(self, command: str, *rest: str, folder: Path) -> None:
        run([self._program, *self._store, command, *rest], cwd=folder)


class BoxedBuildah(Buildah):
    """Buildah of a root file system of Debian's, in namespaces that end with it."""

    def save(self, name: str, archive: Path) -> None:
        """Write an image as an archive, and forget what earlier and broken builds left."""
        super().save(name, archive)
        for command in (("rm", "--all"), ("rmi", "--prune")):
            self._run(*command, folder=archive.parent)

    def _run(self, command: str, *rest: str, folder: Path) -> None:
        store = cache(os.environ) / "images"
        store.mkdir(exist_ok=True)
        seen = {folder, store, CERTIFICATES, Path("/etc/resolv.conf"), Path("/etc/hosts")}
        pairs = [str(path) for path in sorted(seen) if path.exists() for _ in range(2)]
        with tempfile.TemporaryDirectory(dir=cache(os.environ)) as box:
            buildah = ["buildah", "--storage-driver=overlay", f"--root={store}", command, *rest]
            enter = [f"{HERE}/enter.sh", str(fetch_root(NODE)), box, *pairs, "--"]
            run([*ALONE, *enter, *buildah])


def find_builder() -> Builder:
    """Return the image builder of this machine."""
    for program in ("docker", "podman"):
        if shutil.which(program) and _answers(program):
            return Builder(program)
    if shutil.which("buildah"):
        return Buildah()
    if os.geteuid() == 0:
        return BoxedBuildah()
    raise Failed("docker, podman or buildah is needed (or root, to have buildah in a folder)")


def run(command: Sequence[str], *, cwd: Path | None = None) -> None:
    """Run a builder's command, which shows its progress."""
    done = subprocess.run(command, cwd=cwd, check=False)  # noqa: S603 - the commands are above
    if done.returncode != 0:
        raise Failed(f"{command[0]} ended with {done.returncode}")


def _answers(program: str) -> bool:
    command = [program, "version", "--format={{.Server.Version}}"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0  # noqa: S603


if __name__ == "__main__":
    sys.exit(main())
