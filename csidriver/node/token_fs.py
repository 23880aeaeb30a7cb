"""The token file system of a node: the folders of all volumes, and their mounts on targets."""

import contextlib
import hashlib
import logging
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from csidriver.config import NodeSettings
from csidriver.errors import MountFailed, TokenFileFailed
from csidriver.node import tokenfile
from csidriver.node.token_mount import Mounter, TokenMount

log = logging.getLogger(__name__)

DATA_FOLDER = "data"
# The root of a bind of one volume, or of the file in it (subPath), in mountinfo.
BIND = re.compile(rf"/(?P<folder>[0-9a-f]{{32}})/{DATA_FOLDER}(/[^/]+)?(?P<removed>//deleted)?")


class TokenFilesystem:
    """The folders of all volumes. `mount.prepare` comes first, once per process."""

    def __init__(self, settings: NodeSettings, mounter: Mounter) -> None:
        self.mount = TokenMount(settings, mounter)
        self.limits = settings.limits
        self._view = settings.view
        self._mounter = mounter

    def problems(self) -> list[str]:
        """Return the reasons why volumes cannot be published, or files not be written."""
        if problems := self.mount.problems():
            return problems
        probe = self.mount.root / ".probe"
        try:
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            return [f"{self.mount.path} cannot be written: {error.strerror}"]
        return []

    def folder(self, volume_id: str) -> Path:
        return self.mount.root / folder_name(volume_id)

    def folders(self) -> Iterator[Path]:
        return (path for path in self.mount.root.iterdir() if path.is_dir())

    def create_folder(self, volume_id: str) -> Path:
        """Create a volume's folders, unless they exist; return the outer one."""
        folder = self.folder(volume_id)
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            (folder / DATA_FOLDER).mkdir(mode=0o555, exist_ok=True)
            (folder / DATA_FOLDER).chmod(0o555)
        except OSError as error:
            raise tokenfile.as_driver_error(folder, error) from error
        return folder

    def remove(self, name: str) -> None:
        """Remove a volume's folders with all files, if they exist; `name` is its `folder_name`."""
        folder = self.mount.root / name
        for file in (folder / DATA_FOLDER).glob("*"):
            # Emptied first: a process may have the file open.
            with contextlib.suppress(TokenFileFailed):
                tokenfile.erase(file)
        shutil.rmtree(folder, ignore_errors=True)

    def bind(self, volume_id: str, target: Path) -> None:
        try:
            target.mkdir(mode=0o750, exist_ok=True)
        except OSError as error:
            raise MountFailed("mkdir", str(target), error.strerror or "failed") from error
        self._mounter.bind(self._view / folder_name(volume_id) / DATA_FOLDER, target)
        if not self.is_bound_at(volume_id, target):
            raise MountFailed("mount", str(target), "the volume does not appear there")

    def unbind(self, target: Path) -> None:
        """Unmount everything from a target, whoever mounted it, and remove the target."""
        while self._mounter.unmount(target):
            pass
        try:
            target.rmdir()
        except FileNotFoundError:
            return
        except OSError as error:
            raise MountFailed("rmdir", str(target), error.strerror or "failed") from error

    def undo_bind(self, volume_id: str, target: Path) -> None:
        """Undo `bind`, but only log an error: another one is on its way to the caller."""
        try:
            if self.is_bound_at(volume_id, target):
                self._mounter.unmount(target)
            target.rmdir()
        except FileNotFoundError:
            return
        except (MountFailed, OSError) as error:
            log.warning("cannot undo a publish at %s: %s", target, type(error).__name__)

    def orphans(self) -> list[str]:
        """Return the names of folders that are not mounted; a running call may still need one."""
        names = [folder.name for folder in self.folders()]
        bound = {name for _, name, is_current in self._binds() if is_current}
        return [name for name in names if name not in bound]

    def volumes_bound_at(self, target: Path) -> set[str]:
        """Return the names of folders that are mounted on a target, even if they were removed."""
        try:
            if target.lstat().st_dev == target.parent.lstat().st_dev:
                # Reading the table takes much longer, and most targets have no mount.
                return set()
        except OSError:
            return set()
        real_target = str(target.resolve())
        return {name for mounted_on, name, _ in self._binds() if mounted_on == real_target}

    def outdated_targets(self) -> set[str]:
        """Return the targets with a mount of a folder, or a token file system, that is gone."""
        return {target for target, _, is_current in self._binds() if not is_current}

    def is_bound_at(self, volume_id: str, target: Path) -> bool:
        try:
            mounted, data = target.lstat(), (self.folder(volume_id) / DATA_FOLDER).lstat()
        except OSError:
            return False
        return (mounted.st_dev, mounted.st_ino) == (data.st_dev, data.st_ino)

    def _binds(self) -> Iterator[tuple[str, str, bool]]:
        """Yield target and folder name of all binds, and whether the folder still exists."""
        for mount in self._mounter.table():
            bind = BIND.fullmatch(mount.root)
            if mount.fs_type == "tmpfs" and bind is not None:
                is_current = mount.device == self.mount.device and not bind["removed"]
                yield mount.target, bind["folder"], is_current


def folder_name(volume_id: str) -> str:
    """Return the name of a volume's folder: a hash, because callers choose the volume id."""
    return hashlib.sha256(volume_id.encode("utf-8", "surrogatepass")).hexdigest()[:32]
