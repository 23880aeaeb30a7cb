"""Programs of Debian, and root file systems made by debootstrap.

Nothing is installed on this machine and no service is started. The root file systems need root.
"""

import hashlib
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.programs import ETCD, cache, find
from tools.steps import Failed, draft_of, run

SUITE = "bookworm"
KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# debootstrap's mounts end with it, however it ends.
ALONE = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation=private"]


@dataclass(frozen=True, slots=True)
class Root:
    """A root file system: Debian's smallest, and these packages with all they depend on."""

    name: str
    packages: tuple[str, ...]

    @property
    def home(self) -> Path:
        """Where it is kept: another folder for every other list of packages."""
        digest = hashlib.sha256(repr((SUITE, self.packages)).encode()).hexdigest()
        return cache(os.environ) / f"{self.name}-{digest[:12]}"


# A Kubernetes node but for Kubernetes itself; and a builder of images.
NODE = Root(
    "node",
    (
        *("containerd", "runc", "containernetworking-plugins", "buildah", "ca-certificates"),
        *("iptables", "iproute2", "dnsmasq-base", "tini", "busybox-static", "mount", "procps"),
    ),
)
# The image's base where no registry can be reached.
BASE = Root("python", ("python3", "python3-venv"))


def fetch_etcd() -> None:
    """Unpack Debian's etcd-server into the cache."""
    if (there := find(ETCD)) is not None:
        print(f"* {ETCD}: {there}")
        return
    home = cache(os.environ) / "debian"
    print(f"* fetching {ETCD}", flush=True)
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent) as draft:
        _unpack("etcd-server", Path(draft), "install etcd >= 3.4 so that it is on PATH")
        Path(draft, "tree/usr/bin", ETCD).rename(home / ETCD)
    print(f"* {ETCD}: {home / ETCD}")


def fetch_root(root: Root) -> Path:
    """Make a root file system unless it is there; its folder."""
    home = root.home
    if home.is_dir():
        return home
    if os.geteuid() != 0:
        raise Failed(f"the root file system {root.name!r} can be made by root only")
    print(f"* debootstrap {root.name}: {', '.join(root.packages)}; this takes a minute", flush=True)
    mirror = os.environ.get("DEBIAN_MIRROR")  # debootstrap knows Debian's own
    include = f"--include={','.join(root.packages)}"
    with tempfile.TemporaryDirectory(dir=_parent(home)) as box, draft_of(home) as draft:
        command, environment = _debootstrap(Path(box))
        # Without keys, as on a distribution that is not Debian, it would take anything over http.
        command += ["--force-check-gpg", f"--keyring={keys(Path(box))}"]
        command += ["--variant=minbase", include, SUITE, str(draft), *([mirror] if mirror else [])]
        run([*ALONE, *command], cwd=Path(box), environment=environment)
        for waste in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man"):
            shutil.rmtree(draft / waste, ignore_errors=True)
        draft.chmod(0o755)
    print(f"* {root.name}: {home}")
    return home


def unpack_with_libraries(packages: Sequence[str], tree: Path) -> None:
    """Unpack packages, and all they depend on that this machine does not have."""
    with tempfile.TemporaryDirectory(dir=tree.parent.parent) as folder:
        box = Path(folder)
        _download(packages, box)  # brings package lists
        plan = ["apt-get", "--simulate", "--no-install-recommends", "install", *packages]
        planned = run(plan, cwd=box).splitlines()
        missing = {line.split()[1] for line in planned if line.startswith("Inst ")}
        if further := sorted(missing - set(packages)):
            _download(further, box)
        for archive in sorted(box.glob("*.deb")):
            run(["dpkg-deb", "--extract", str(archive), str(tree)], cwd=box)


def keys(box: Path, installed: Path = KEYS) -> Path:
    """Return the keys that sign Debian's archive, of this machine or unpacked in `box`."""
    if installed.is_file():
        return installed
    _unpack("debian-archive-keyring", box, "install debian-archive-keyring")
    return Path(f"{box}/tree{KEYS}")


def pack(root: Root) -> Path:
    """Pack a root file system into a tar archive beside its folder."""
    archive = root.home.with_suffix(".tar")
    if not archive.exists():
        with tempfile.TemporaryDirectory(dir=archive.parent) as box:
            draft = Path(box, archive.name)
            with tarfile.open(draft, "w") as tar:
                for name in sorted(path.name for path in fetch_root(root).iterdir()):
                    tar.add(root.home / name, name)
            draft.rename(archive)
    return archive


def _debootstrap(box: Path) -> tuple[list[str], dict[str, str]]:
    """Return the command, of this machine or unpacked, and its environment."""
    if (there := shutil.which("debootstrap")) is not None:
        return [there], dict(os.environ)
    _unpack("debootstrap", box, "install debootstrap")
    folder = box / "tree/usr/share/debootstrap"
    return [f"{box}/tree/usr/sbin/debootstrap"], os.environ | {"DEBOOTSTRAP_DIR": str(folder)}


def _unpack(package: str, box: Path, otherwise: str) -> None:
    """Have a package's content in the folder `tree` of `box`."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise Failed(f"{otherwise}, or name KUBEBUILDER_ASSETS")
    _download([package], box)
    (archive,) = box.glob(f"{package}_*.deb")
    run(["dpkg-deb", "--extract", str(archive), f"{box}/tree"], cwd=box)


def _download(packages: Iterable[str], box: Path) -> None:
    """Fetch the archives of packages into the folder `box`."""
    try:
        run(["apt-get", "download", *packages], cwd=box)
    except Failed:
        # A new machine has no package lists yet, one that is older has lists of the past.
        run(["apt-get", "update"], cwd=box)
        run(["apt-get", "download", *packages], cwd=box)


def _parent(home: Path) -> Path:
    home.parent.mkdir(parents=True, exist_ok=True)
    return home.parent
