"""The token file system of a node: one tmpfs in the plugin's folder, and a read-only view of it.

A publish binds a folder of the view, which is read-only before anything is bound from it. To
remount a bind read-only later would only change this container's mount namespace; the pod could
write.
"""

import contextlib
import hashlib
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from csidriver.config import NodeSettings
from csidriver.core.volume.mountinfo import Mount
from csidriver.errors import InvalidSettings, MountFailed, TokenFileFailed
from csidriver.node import tokenfile

log = logging.getLogger(__name__)

DATA_FOLDER = "data"
_TMPFS = "tokens"


class Mounter(Protocol):
    """Mount operations; each raises MountFailed."""

    def table(self) -> list[Mount]: ...

    def bind(self, source: Path, target: Path) -> None: ...

    def bind_read_only(self, source: Path, target: Path) -> None: ...

    def mount_tmpfs(self, target: Path, *, size: int, inodes: int, context: str) -> None: ...

    def unmount(self, target: Path) -> bool: ...


class TokenFilesystem:
    """The folders of all volumes. `prepare` comes first, once per process."""

    def __init__(self, settings: NodeSettings, mounter: Mounter) -> None:
        self._settings = settings
        self._mounter = mounter
        self.root = settings.plugin_dir / _TMPFS

    def prepare(self) -> None:
        """Mount the view, and the tmpfs unless an earlier process of this node did.

        Raises:
            InvalidSettings: mounts do not propagate from here to the host.
            MountFailed: the kernel refused.
        """
        settings = self._settings
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        settings.view.mkdir(mode=0o700, parents=True, exist_ok=True)
        table = self._mounter.table()
        for folder in (settings.plugin_dir, settings.pods):
            if not _mount_of(table, folder).shared:
                problem = f"{folder} is not on a shared mount, so pods would see no volumes"
                remedy = "mount it with mountPropagation: Bidirectional"
                raise InvalidSettings("mount propagation", [problem, remedy])
        top = _topmost_mount(table, self.root)
        if top is None:
            self._mounter.mount_tmpfs(
                self.root,
                size=settings.size,
                inodes=settings.inodes,
                context=settings.selinux_context,
            )
        elif top.fs_type != "tmpfs":
            problem = f"a {top.fs_type} is mounted on {self.root}; unmount it"
            raise InvalidSettings("token file system", [problem])
        self.close()  # the view of an earlier process; binds from it stay
        self._mounter.bind_read_only(self.root, settings.view)

    def problems(self) -> list[str]:
        """Return the reason why token files cannot be written, if there is one."""
        probe = self.root / ".probe"
        try:
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            return [f"{self.root} cannot be written: {error.strerror}"]
        return []

    def close(self) -> None:
        """Unmount the view; volumes stay mounted, and their files stay."""
        self._unmount_all(self._settings.view)

    def folder(self, volume_id: str) -> Path:
        return self.root / folder_name(volume_id)

    def folders(self) -> Iterator[Path]:
        return (path for path in self.root.iterdir() if path.is_dir())

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
        folder = self.root / name
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
        self._mounter.bind(self._settings.view / folder_name(volume_id) / DATA_FOLDER, target)
        if not self.is_bound_at(volume_id, target):
            raise MountFailed("mount", str(target), "the volume does not appear there")

    def unbind(self, target: Path) -> None:
        """Unmount the driver's mounts from a target and remove it."""
        while self._is_ours(target):  # an earlier driver may have mounted more than once
            if not self._mounter.unmount(target):
                break
        try:
            target.rmdir()
        except FileNotFoundError:
            return
        except OSError as error:
            raise MountFailed("rmdir", str(target), error.strerror or "failed") from error

    def unbind_if_possible(self, target: Path) -> None:
        """Do the same, but only log an error: another one is on its way to the caller."""
        try:
            self.unbind(target)
        except MountFailed as error:
            log.warning("cannot undo a publish: %s", error)

    def orphans(self) -> list[str]:
        """Return the names of folders that are not mounted; a running call may still need one."""
        names = [folder.name for folder in self.folders()]
        binds = self._binds()
        if binds is None:
            return []
        bound = {name for _, name in binds}
        return [name for name in names if name not in bound]

    def volumes_bound_at(self, target: Path) -> set[str]:
        """Return the names of folders that are mounted on a target, even if they were removed."""
        if not self._is_ours(target):
            # Reading the table takes much longer, and most targets have no mount.
            return set()
        real_target = str(target.resolve())
        return {name for mounted_on, name in self._binds() or [] if mounted_on == real_target}

    def is_bound_at(self, volume_id: str, target: Path) -> bool:
        try:
            mounted, data = target.lstat(), (self.folder(volume_id) / DATA_FOLDER).lstat()
        except OSError:
            return False
        return (mounted.st_dev, mounted.st_ino) == (data.st_dev, data.st_ino)

    def _binds(self) -> list[tuple[str, str]] | None:
        """Return (target, folder name) of all binds; None if the tmpfs is not mounted."""
        table = self._mounter.table()
        tmpfs = _topmost_mount(table, self.root)
        if tmpfs is None:
            return None
        # A bind of `<root>/<name>/data` has `/<name>/data` as its root (proc(5), mountinfo).
        binds = [mount for mount in table if mount.device == tmpfs.device and mount.root != "/"]
        return [(mount.target, mount.root.split("/")[1]) for mount in binds]

    def _unmount_all(self, target: Path) -> None:
        while self._mounter.unmount(target):
            pass

    def _is_ours(self, target: Path) -> bool:
        try:
            return target.lstat().st_dev == self.root.lstat().st_dev
        except OSError:
            return False


def folder_name(volume_id: str) -> str:
    """Return the name of a volume's folder: a hash, because callers choose the volume id."""
    return hashlib.sha256(volume_id.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _topmost_mount(table: list[Mount], target: Path) -> Mount | None:
    real = str(target.resolve())  # mountinfo has no symlinks
    return next((mount for mount in reversed(table) if mount.target == real), None)


def _mount_of(table: list[Mount], path: Path) -> Mount:
    covering = [mount for mount in table if path.resolve().is_relative_to(mount.target)]
    # The longest prefix; of several mounts on the same path the topmost.
    return max(reversed(covering), key=lambda mount: len(mount.target))
