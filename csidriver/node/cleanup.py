"""Removal of the driver from a node: mounts, tokens, folders and sockets.

Kubelet's own files, such as `vol_data.json`, stay. An object that cannot be removed does not stop
the removal of the others. A cleanup may be repeated.
"""

import contextlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath

from csidriver.config import CleanupSettings
from csidriver.core.names import DRIVER_NAME
from csidriver.core.volume.mountinfo import Mount
from csidriver.errors import CleanupRefused, DriverError, MountFailed, TokenFileFailed
from csidriver.node import tokenfile
from csidriver.node.health import is_served
from csidriver.node.token_fs import BIND, DATA_FOLDER
from csidriver.node.token_mount import Mounter
from csidriver.node.volume_record import VolumeRecord

_FOLDER = re.compile(r"[0-9a-f]{32}")
# Sockets that `GrpcServer.start` had not yet renamed when it crashed.
_DRAFT = re.compile(r"\.[0-9]+[01]")


class Cleanup:
    """One cleanup, which calls `report` with a line for each object that it removes."""

    def __init__(
        self, settings: CleanupSettings, mounter: Mounter, report: Callable[[str], None]
    ) -> None:
        self._settings = settings
        self._mounter = mounter
        self._report = report
        self._has_removed = False
        self._root = settings.plugin_dir / "tokens"
        self._table: list[Mount] = []
        self._problems: list[str] = []

    def run(self) -> list[str]:
        """Remove what can be removed; return the problems with the rest.

        Raises:
            CleanupRefused: a node plugin is running or, without `force`, pods have volumes.
        """
        sockets = [self._settings.registration_socket, self._settings.socket]
        for path in sockets:
            if is_served(path):
                raise CleanupRefused(
                    f"a node plugin is running, it answers on {path}; stop it first, "
                    "e.g. delete its DaemonSet"
                )
        self._table = self._mounter.table()
        self._refuse_while_mounted()
        # Registration first: kubelet then forgets the driver and does not call it any more.
        for path in sockets:
            self._remove_sockets(path)
        # Before the mounts: a mount that a container still has shows no token any more.
        for folder in self._volume_folders():
            self._erase_files(folder)
        mounted = [Path(mount.target) for mount in reversed(self._pod_mounts())]
        for target in dict.fromkeys([*mounted, *self._targets_of_kubelet()]):
            with self._collecting_problems(target):
                self._remove_target(target)
        with self._collecting_problems(self._settings.view):
            self._remove_view()
        with self._collecting_problems(self._root):
            self._remove_token_fs()
            with self._collecting_problems(self._settings.plugin_dir):
                self._remove(self._settings.plugin_dir)
        if not self._has_removed and not self._problems:
            self._report("nothing of the driver is left here")
        return self._problems

    def _refuse_while_mounted(self) -> None:
        names = sorted({self._volume_name(mount) for mount in self._pod_mounts()})
        if names and not self._settings.force:
            raise CleanupRefused(
                f"pods still have volumes of this driver: {', '.join(names)}; delete these pods "
                "first, or take the volumes away from them with --force"
            )

    def _volume_name(self, mount: Mount) -> str:
        """Return `namespace/pod/volume`, or the target if the record is missing."""
        try:
            match = BIND.fullmatch(mount.root)
            record = VolumeRecord.load(self._root / (match["folder"] if match else ""))
        except TokenFileFailed:
            return mount.target
        volume = PurePath(record.target_path).parent.name
        return f"{record.namespace}/{record.pod_name}/{volume}"

    def _pod_mounts(self) -> list[Mount]:
        pods = self._settings.pods.resolve()  # mountinfo has no symlinks
        return [m for m in self._table if self._is_ours(m) and Path(m.target).is_relative_to(pods)]

    def _is_ours(self, mount: Mount) -> bool:
        if mount.fs_type != "tmpfs":
            return False
        devices = {at_root.device for at_root in self._mounts_on(self._root)}
        # The token file system may be unmounted from its own folder already.
        return mount.device in devices or BIND.fullmatch(mount.root) is not None

    def _mounts_on(self, path: Path) -> list[Mount]:
        """Return the mounts on a path, the topmost last."""
        real_path = str(path.resolve())
        return [mount for mount in self._table if mount.target == real_path]

    def _remove_sockets(self, socket: Path) -> None:
        """Remove a socket, and drafts beside it that no process serves."""
        with self._collecting_problems(socket.parent):
            files = list(socket.parent.iterdir()) if socket.parent.is_dir() else []
            drafts = [path for path in files if _DRAFT.fullmatch(path.name) and path.is_socket()]
            for path in [socket, *(draft for draft in drafts if not is_served(draft))]:
                with self._collecting_problems(path):
                    self._remove(path)

    def _volume_folders(self) -> Iterator[Path]:
        """Yield the volumes' folders, unless another file system is mounted over them."""
        mounts = self._mounts_on(self._root)
        with self._collecting_problems(self._root):
            if self._root.is_dir() and (not mounts or mounts[-1].fs_type == "tmpfs"):
                yield from [f for f in self._root.iterdir() if _FOLDER.fullmatch(f.name)]

    def _erase_files(self, folder: Path) -> None:
        with self._collecting_problems(folder):
            data = folder / DATA_FOLDER
            for file in list(data.iterdir()) if data.is_dir() else []:
                with self._collecting_problems(file):
                    tokenfile.erase(file)
                    self._removed(f"erased {file}")

    def _remove_target(self, target: Path) -> None:
        """Unmount the driver's mounts from a target and remove it; of a subPath it is a file."""
        for mount in reversed(self._mounts_on(target)):
            if not self._is_ours(mount):
                raise MountFailed("umount", str(target), "another file system is mounted there")
            self._unmount(target)
        self._remove(target)

    def _targets_of_kubelet(self) -> Iterator[Path]:
        """Yield the targets of the driver's volumes, which outlive their mounts at a reboot."""
        pods = self._settings.pods.resolve()
        for vol_data in pods.glob("*/volumes/kubernetes.io~csi/*/vol_data.json"):
            with self._collecting_problems(vol_data):
                try:
                    driver = json.loads(vol_data.read_text(encoding="utf-8"))["driverName"]
                except (ValueError, TypeError, KeyError, RecursionError):
                    continue  # of another driver, or half written
                if driver == DRIVER_NAME:
                    yield vol_data.with_name("mount")

    def _remove_view(self) -> None:
        view = self._settings.view
        ours = self._mounts_on(self._root) + self._pod_mounts()
        devices = {mount.device for mount in ours if mount.fs_type == "tmpfs"}
        for mount in reversed(self._mounts_on(view)):
            # Without another mount of the same file system a view shows only by its kind.
            alone = not devices and mount.fs_type == "tmpfs" and mount.read_only
            if mount.device not in devices and not alone:
                raise MountFailed("umount", str(view), "this is not a view of the token files")
            self._unmount(view)
        self._remove(view)

    def _remove_token_fs(self) -> None:
        for mount in reversed(self._mounts_on(self._root)):
            if mount.fs_type != "tmpfs":
                problem = f"a {mount.fs_type} is mounted there, which is not the driver's"
                raise MountFailed("umount", str(self._root), problem)
            self._unmount(self._root)
        # Folders below the mount, or of a plugin that ran without it.
        for folder in self._volume_folders():
            with self._collecting_problems(folder):
                self._erase_files(folder)
                shutil.rmtree(folder)
                self._removed(f"removed {folder}")
        self._remove(self._root)

    def _unmount(self, target: Path) -> None:
        if self._mounter.unmount(target):
            self._removed(f"unmounted {target}")

    def _remove(self, path: Path) -> None:
        """Remove an empty folder, an empty file or a socket, if it exists."""
        try:
            status = path.lstat()
            if path.is_dir():
                path.rmdir()
            elif status.st_size == 0:
                path.unlink()
            else:
                raise DriverError(f"{path}: is not empty")
        except FileNotFoundError:
            return
        self._removed(f"removed {path}")

    def _removed(self, line: str) -> None:
        self._has_removed = True
        self._report(line)

    @contextlib.contextmanager
    def _collecting_problems(self, path: Path) -> Iterator[None]:
        """Continue after an error with one object; `run` returns it at the end."""
        try:
            yield
        except DriverError as error:
            self._problems.append(str(error))
        except OSError as error:
            self._problems.append(f"{path}: {error.strerror}")
