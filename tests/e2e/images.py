"""The images of the cluster: ours, and stand-ins for those that a registry would bring.

Always by the boxed buildah: in the store of this machine's docker or podman they would stay, and
take names like busybox from the images that have them.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tools import image
from tools.debian import NODE, fetch_root
from tools.image import CLONE, BoxedBuildah, Build, alone
from tools.programs import cache
from tools.steps import Failed

# The image of the commit that `make e2e-upgrade` upgrades from.
BEFORE = "localhost/oauth2-csi:before"

# The announcement's pods run "busybox"; "pause" holds the namespaces of a pod.
_STAND_INS = {
    "docker.io/library/busybox:latest": """\
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "mkdir", "-p", "/tmp", "/etc", "/root", "/var"]
RUN ["/bin/busybox", "chmod", "1777", "/tmp"]
RUN ["/bin/busybox", "--install", "/bin"]
CMD ["sh"]
""",
    "localhost/pause:e2e": """\
FROM scratch
COPY busybox /bin/busybox
ENTRYPOINT ["/bin/busybox", "sleep", "2147483647"]
""",
}


def stand_ins() -> list[Path]:
    return [_stand_in(name, recipe) for name, recipe in _STAND_INS.items()]


def build_image(name: str, archive: Path, tree: Path = CLONE) -> Path:
    base = os.environ.get("BASE_IMAGE") or image.LOCAL
    return image.make(name, base, archive, BoxedBuildah(), tree=tree)


def check_out(commit: str, tree: Path) -> None:
    """Write the files of a commit of this clone to a new folder."""
    tree.mkdir()
    packed = tree.with_suffix(".tar")
    for command in (
        ["git", "-C", str(CLONE), "archive", f"--output={packed}", commit],
        ["tar", "--extract", f"--file={packed}", f"--directory={tree}"],
    ):
        if subprocess.run(command, check=False).returncode != 0:  # noqa: S603 - the two above
            raise Failed(f"the files of commit {commit!r} cannot be had")


def _stand_in(name: str, recipe: str) -> Path:
    folder = cache(os.environ) / f"stand-ins-{NODE.home.name}"
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / f"{name.replace('/', '_').replace(':', '_')}.tar"
    if not archive.exists():
        builder = BoxedBuildah()
        with alone(), tempfile.TemporaryDirectory(dir=folder) as box:
            shutil.copy(fetch_root(NODE) / "bin/busybox", box)
            Path(box, "Dockerfile").write_text(recipe, encoding="utf-8")
            builder.build(Build(name, Path(box), {}))
            draft = Path(box, "image.tar")
            builder.save(name, draft)
            draft.rename(archive)
    return archive
