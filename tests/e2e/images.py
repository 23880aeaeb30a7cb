"""The images of the cluster: ours, and stand-ins for those that a registry would bring."""

import os
import shutil
import tempfile
from pathlib import Path

from tools import image
from tools.debian import NODE, fetch_root
from tools.image import Build, find_builder
from tools.programs import cache

# The announcement's pods run "busybox"; "pause" holds the namespaces of a pod.
_STAND_INS = {
    "docker.io/library/busybox:latest": (
        "FROM scratch\nCOPY busybox /bin/busybox\n"
        'RUN ["/bin/busybox", "mkdir", "-p", "/tmp", "/etc", "/root", "/var"]\n'
        'RUN ["/bin/busybox", "chmod", "1777", "/tmp"]\n'
        'RUN ["/bin/busybox", "--install", "/bin"]\n'
        'CMD ["sh"]\n'
    ),
    "localhost/pause:e2e": (
        'FROM scratch\nCOPY busybox /bin/busybox\nENTRYPOINT ["/bin/busybox", "sleep", "2147483647"]\n'
    ),
}


def folder() -> Path:
    """Where the archives lie."""
    return cache(os.environ) / f"archives-{NODE.home.name}"


def archives(name: str) -> list[Path]:
    """Archives of all that the cluster needs; ours is built as `name`."""
    folder().mkdir(parents=True, exist_ok=True)
    found = [_stand_in(each, recipe) for each, recipe in _STAND_INS.items()]
    if os.environ.get("E2E_ARCHIVE"): return [*found, Path(os.environ["E2E_ARCHIVE"])]
    with tempfile.TemporaryDirectory(dir=folder()) as box:
        # Another run may be reading the one of before.
        built = image.make(name, os.environ.get("BASE_IMAGE") or image.LOCAL, Path(box, "i.tar"))
        return [*found, built.rename(folder() / f"ours-{os.getpid()}.tar")]


def _stand_in(name: str, recipe: str) -> Path:
    archive = folder() / f"{name.replace('/', '_').replace(':', '_')}.tar"
    if not archive.exists():
        builder = find_builder()
        with tempfile.TemporaryDirectory(dir=folder()) as box:
            shutil.copy(fetch_root(NODE) / "bin/busybox", box)
            Path(box, "Dockerfile").write_text(recipe, encoding="utf-8")
            builder.build(Build(name, Path(box), {}))
            draft = Path(box, "i.tar")
            builder.save(name, draft)
            draft.rename(archive)
    return archive
