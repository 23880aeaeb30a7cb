"""The system calls of a publish alone, without gRPC, checks or API."""

import json
import os
import time
from pathlib import Path

from bench import marked
from bench.room import MEMORY
from csidriver.adapters.mounts import Mounts

# About what a volume's record has.
_RECORD = json.dumps({"record": "x" * 500}).encode()


class Floor:
    """Makes and shows volumes below kubelet's folder, where mounts propagate as for the plugin."""

    def __init__(self, pods: Path) -> None:
        self._mounts = Mounts()
        self._targets = pods / "floor"
        self._targets.mkdir(exist_ok=True)
        # Nothing shares this place, as nothing shares the plugin's view.
        self._folder = MEMORY / "floor"
        self._folder.mkdir(exist_ok=True)
        self._token = b"t" * marked.SIZE

    def sample(self) -> tuple[float, float]:
        """Milliseconds of making one volume, and of taking it away."""
        folder, target = self._folder / "volume", self._targets / "volume"
        began = time.perf_counter()
        self._show(folder, target)
        shown = time.perf_counter()
        self._remove(folder, target)
        return 1000 * (shown - began), 1000 * (time.perf_counter() - shown)

    def _show(self, folder: Path, target: Path) -> None:
        data = f"{folder}/data"
        os.mkdir(folder, 0o700)  # noqa: PTH102 - a floor has no pathlib in it; below as well
        os.mkdir(data, 0o555)  # noqa: PTH102
        _write(f"{data}/draft", self._token, 0o400)
        os.link(f"{data}/draft", f"{data}/token")
        os.unlink(f"{data}/draft")  # noqa: PTH108
        os.mkdir(target, 0o750)  # noqa: PTH102
        self._mounts.bind(Path(data), target)
        os.lstat(target)
        os.lstat(data)
        _write(f"{folder}/draft", _RECORD, 0o600)
        os.rename(f"{folder}/draft", f"{folder}/record")  # noqa: PTH104

    def _remove(self, folder: Path, target: Path) -> None:
        self._mounts.unmount(target)
        target.rmdir()
        (folder / "data/token").unlink()
        (folder / "record").unlink()
        (folder / "data").rmdir()
        folder.rmdir()


def _write(path: str, content: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.write(descriptor, content)
    os.fchown(descriptor, 0, 0)
    os.fchmod(descriptor, mode)
    os.close(descriptor)
