"""The node's state: one tmpfs in the plugin folder, and a read-only view of it.

A publish binds a folder of the view. The view is read-only before anything is bound from it: a
later remount of the bind would stay in this container's mount namespace, and the pod's side would
be writable.
"""

import contextlib
import hashlib
import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from csidriver.core.volume.mountinfo import Mount
from csidriver.errors import InvalidSettings, MountFailed, TokenFileFailed
from csidriver.node import tokenfile

log = logging.getLogger(__name__)

DATA_FOLDER = "data"
_TMPFS = "tokens"


class Mounter(Protocol):
    """The mount operations a node needs; each raises MountFailed."""

    def table(self) -> list[Mount]:
        """All mounts of this mount namespace, oldest first."""

    def bind(self, source: Path, target: Path) -> None:
        """Show a folder at a second place."""

    def bind_read_only(self, source: Path, target: Path) -> None:
        """Show a folder read-only at a place that shares nothing with its parent."""

    def mount_tmpfs(self, target: Path, *, size: int, inodes: int, context: str) -> None:
        """Mount a file system in memory, `size` in bytes."""

    def unmount(self, target: Path) -> bool:
        """Take away the topmost mount; False if there is none."""


@dataclass(frozen=True, slots=True)
class TokenFilesystemSettings:
    """Where the state lies and how large it may grow; `size` in bytes.

    Volumes are mounted below `pods`.
    """

    plugin_dir: Path
    pods: Path
    view: Path
    size: int = 64 << 20
    inodes: int = 16384
    selinux_context: str = ""


class TokenFilesystem:
    """The folders of all volumes. `prepare` comes first, once per process."""

    def __init__(self, settings: TokenFilesystemSettings, mounter: Mounter) -> None:
        self._settings = settings
        self._mounter = mounter
        self.root = settings.plugin_dir / _TMPFS

    def prepare(self) -> None:
        """Mount the tmpfs unless an earlier process of this node did, and the view.

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
                problem = f"{folder} is not on a shared mount; pods would see no volumes"
                cure = "mount it with mountPropagation: Bidirectional"
                raise InvalidSettings("mount propagation", [problem, cure])
        top = _topmost_mount(table, self.root)
        if top is None:
            self._mounter.mount_tmpfs(
                self.root,
                size=settings.size,
                inodes=settings.inodes,
                context=settings.selinux_context,
            )
        elif top.fs_type != "tmpfs":
            problem = f"{self.root} holds a {top.fs_type}; unmount it"
            raise InvalidSettings("token file system", [problem])
        while self._mounter.unmount(settings.view):
            """A view of an earlier process; what was bound from it stays."""
        self._mounter.bind_read_only(self.root, settings.view)

    def problems(self) -> list[str]:
        """What keeps token files from being written."""
        probe = self.root / ".probe"
        try:
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            return [f"{self.root} cannot be written: {error.strerror}"]
        return []

    def close(self) -> None:
        """Take the view away; volumes stay mounted and their files stay."""
        while self._mounter.unmount(self._settings.view):
            """Normally once."""

    def folder(self, volume_id: str) -> Path:
        """Where a volume's record and data lie. The name is a hash: ids are foreign text."""
        return self.root / folder_name(volume_id)

    def folders(self) -> Iterator[Path]:
        """Folders of all volumes, complete or not."""
        yield from (path for path in self.root.iterdir() if path.is_dir())

    def create_folder(self, volume_id: str) -> Path:
        """Create a volume's folders; harmless when repeated. Raises TokenFileFailed."""
        folder = self.folder(volume_id)
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            (folder / DATA_FOLDER).mkdir(mode=0o555, exist_ok=True)
            (folder / DATA_FOLDER).chmod(0o555)
        except OSError as error:
            raise tokenfile.as_driver_error(folder, error) from error
        return folder

    def remove(self, name: str) -> None:
        """Remove a volume's folders and what lies in them, by `folder_name`; fine if gone."""
        folder = self.root / name
        for file in (folder / DATA_FOLDER).glob("*"):
            # Without a record nobody knew of it, and somebody may have it open.
            with contextlib.suppress(TokenFileFailed):
                tokenfile.erase(file)
        shutil.rmtree(folder, ignore_errors=True)

    def bind(self, volume_id: str, target: Path) -> None:
        """Mount a volume's data on a target, creating it; raises MountFailed."""
        try:
            target.mkdir(mode=0o750, exist_ok=True)
        except OSError as error:
            raise MountFailed("mkdir", str(target), error.strerror or "failed") from error
        self._mounter.bind(self._settings.view / folder_name(volume_id) / DATA_FOLDER, target)
        if not self.is_bound_at(volume_id, target):
            raise MountFailed("mount", str(target), "does not show the volume")

    def unbind(self, target: Path) -> None:
        """Unmount what is ours and remove the target; raises MountFailed."""
        while self._is_ours(target) and self._mounter.unmount(target):
            """An earlier driver may have mounted more than once."""
        try:
            target.rmdir()
        except FileNotFoundError:
            return
        except OSError as error:
            raise MountFailed("rmdir", str(target), error.strerror or "failed") from error

    def unbind_if_possible(self, target: Path) -> None:
        """The same while something else has failed already, which is the error to tell."""
        try:
            self.unbind(target)
        except MountFailed as error:
            log.warning("undoing a publish: %s", error)

    def orphans(self) -> list[str]:
        """Names of folders that are mounted nowhere; somebody may still be about to use one."""
        names = [folder.name for folder in self.folders()]
        binds = self._binds()
        if binds is None:
            return []
        bound = {name for _, name in binds}
        return [name for name in names if name not in bound]

    def volumes_bound_at(self, target: Path) -> set[str]:
        """Names of the folders that are mounted on a target, also of those that are gone."""
        if not self._is_ours(target):
            # Reading the table takes much longer, and most targets have nothing on them.
            return set()
        real = str(target.resolve())
        return {name for place, name in self._binds() or [] if place == real}

    def is_bound_at(self, volume_id: str, target: Path) -> bool:
        """Whether the target shows this volume's data now."""
        try:
            there, data = target.lstat(), (self.folder(volume_id) / DATA_FOLDER).lstat()
        except OSError:
            return False
        return (there.st_dev, there.st_ino) == (data.st_dev, data.st_ino)

    def _binds(self) -> list[tuple[str, str]] | None:
        """Targets of all binds, each with its folder's name; None without a token file system."""
        table = self._mounter.table()
        tmpfs = _topmost_mount(table, self.root)
        if tmpfs is None:
            return None
        # A bind of `<root>/<name>/data` has `/<name>/data` as its root (proc(5), mountinfo).
        binds = [mount for mount in table if mount.device == tmpfs.device and mount.root != "/"]
        return [(mount.target, mount.root.split("/")[1]) for mount in binds]

    def _is_ours(self, target: Path) -> bool:
        """Whether something of this file system is mounted on the target."""
        try:
            return target.lstat().st_dev == self.root.lstat().st_dev
        except OSError:
            return False


def folder_name(volume_id: str) -> str:
    """First 32 hex digits of SHA-256 of the volume id."""
    return hashlib.sha256(volume_id.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _topmost_mount(table: list[Mount], target: Path) -> Mount | None:
    real = str(target.resolve())  # mountinfo knows no symlinks
    return next((mount for mount in reversed(table) if mount.target == real), None)


def _mount_of(table: list[Mount], path: Path) -> Mount:
    """The mount a path lies on: the longest prefix, the topmost of several."""
    covering = [m for m in table if path.resolve().is_relative_to(m.target)]
    return max(reversed(covering), key=lambda mount: len(mount.target))
