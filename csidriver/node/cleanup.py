"""Removes the driver from a node for good: mounts, tokens, folders, sockets.

Kubelet's own files stay, its `vol_data.json` among them. What cannot be removed keeps nothing else
from being removed. All of it may be repeated, and is fine with what is gone already.
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
from csidriver.node.token_fs import DATA_FOLDER, Mounter
from csidriver.node.volume_record import VolumeRecord

_FOLDER = re.compile(r"[0-9a-f]{32}")
# The root of a bind of one volume, or of the file in it (subPath), as mountinfo shows it.
_BIND = re.compile(rf"/(?P<folder>{_FOLDER.pattern})/{DATA_FOLDER}(/[^/]+)?(//deleted)?")
# What a crash may leave of `Server.start`: sockets that had not got their names yet.
_DRAFT = re.compile(r"\.[0-9]+[01]")


class Cleanup:
    """One run of it. `say` gets a line for each thing that was removed."""

    def __init__(
        self, settings: CleanupSettings, mounter: Mounter, say: Callable[[str], None]
    ) -> None:
        self._settings = settings
        self._mounter = mounter
        self._say = say
        self._silent = True
        self._root = settings.plugin_dir / "tokens"
        self._pods = settings.kubelet_dir / "pods"
        self._table: list[Mount] = []
        self._problems: list[str] = []

    def run(self) -> list[str]:
        """Remove what can be removed; returns what stands in the way of the rest.

        Raises:
            StillInUse: a node plugin is running or, without `force`, pods have volumes.
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
        # Registration first: kubelet then takes the driver off the node, and calls it no more.
        for path in sockets:
            self._remove_sockets(path)
        # Before the mounts: what a container still has of one shows no token any more.
        for folder in self._folders():
            self._erase(folder)
        mounted = [Path(mount.target) for mount in reversed(self._mounts_of_pods())]
        for target in dict.fromkeys([*mounted, *self._kubelets_targets()]):
            with self._noting(target):
                self._hide(target)
        with self._noting(self._settings.view):
            self._remove_view()
        with self._noting(self._root):
            self._remove_state()
            with self._noting(self._settings.plugin_dir):
                self._remove(self._settings.plugin_dir)
        if self._silent and not self._problems:
            self._say("nothing of the driver is left here")
        return self._problems

    def _refuse_while_mounted(self) -> None:
        names = sorted({self._name(mount) for mount in self._mounts_of_pods()})
        if names and not self._settings.force:
            raise CleanupRefused(
                f"pods still have volumes of this driver: {', '.join(names)}; delete these pods "
                "first, or take the volumes away from them with --force"
            )

    def _name(self, mount: Mount) -> str:
        """What an operator knows a volume by; its place if there is no record."""
        try:
            match = _BIND.fullmatch(mount.root)
            record = VolumeRecord.load(self._root / (match["folder"] if match else ""))
        except TokenFileFailed:
            return mount.target
        volume = PurePath(record.target_path).parent.name
        return f"{record.namespace}/{record.pod_name}/{volume}"

    def _mounts_of_pods(self) -> list[Mount]:
        pods = self._pods.resolve()  # mountinfo knows no symlinks
        return [m for m in self._table if self._is_ours(m) and Path(m.target).is_relative_to(pods)]

    def _is_ours(self, mount: Mount) -> bool:
        """Whether a mount shows our file system, which may have been unmounted in its own place."""
        if mount.fs_type != "tmpfs":
            return False
        devices = {state.device for state in self._at(self._root)}
        return mount.device in devices or _BIND.fullmatch(mount.root) is not None

    def _at(self, path: Path) -> list[Mount]:
        """The mounts on a path, the topmost last."""
        real = str(path.resolve())
        return [mount for mount in self._table if mount.target == real]

    def _remove_sockets(self, socket: Path) -> None:
        """A socket, and those beside it that nobody has ever served under its name."""
        with self._noting(socket.parent):
            beside = list(socket.parent.iterdir()) if socket.parent.is_dir() else []
            drafts = [path for path in beside if _DRAFT.fullmatch(path.name) and path.is_socket()]
            for path in [socket, *(draft for draft in drafts if not is_served(draft))]:
                with self._noting(path):
                    self._remove(path)

    def _folders(self) -> Iterator[Path]:
        """The volumes' folders, unless it is another file system that lies there."""
        stack = self._at(self._root)
        with self._noting(self._root):
            if self._root.is_dir() and (not stack or stack[-1].fs_type == "tmpfs"):
                yield from [f for f in self._root.iterdir() if _FOLDER.fullmatch(f.name)]

    def _erase(self, folder: Path) -> None:
        with self._noting(folder):
            for file in (folder / DATA_FOLDER).iterdir() if (folder / DATA_FOLDER).is_dir() else ():
                with self._noting(file):
                    tokenfile.erase(file)
                    self._done(f"erased {file}")

    def _hide(self, target: Path) -> None:
        """Unmount what is ours and remove the target; subPath mounts are on files."""
        for mount in reversed(self._at(target)):
            if not self._is_ours(mount):
                raise MountFailed("umount", str(target), "something else is mounted there")
            self._unmount(target)
        self._remove(target)

    def _kubelets_targets(self) -> Iterator[Path]:
        """Those of our volumes, mounted or not: after a reboot kubelet's folders are left."""
        for data in self._pods.resolve().glob("*/volumes/kubernetes.io~csi/*/vol_data.json"):
            with self._noting(data):
                try:
                    driver = json.loads(data.read_text(encoding="utf-8"))["driverName"]
                except (ValueError, TypeError, KeyError, RecursionError):
                    continue  # another driver's, or half written: nothing says that it is ours
                if driver == DRIVER_NAME:
                    yield data.with_name("mount")

    def _remove_view(self) -> None:
        view = self._settings.view
        known = self._at(self._root) + self._mounts_of_pods()
        devices = {mount.device for mount in known if mount.fs_type == "tmpfs"}
        for mount in reversed(self._at(view)):
            alone = not devices and mount.fs_type == "tmpfs" and mount.read_only
            if mount.device not in devices and not alone:
                raise MountFailed("umount", str(view), "this is no view of the token files")
            self._unmount(view)
        self._remove(view)

    def _remove_state(self) -> None:
        for mount in reversed(self._at(self._root)):
            if mount.fs_type != "tmpfs":
                problem = f"a {mount.fs_type} is mounted there, which is not ours"
                raise MountFailed("umount", str(self._root), problem)
            self._unmount(self._root)
        # What lies below a file system in memory, or lay there without one.
        for folder in self._folders():
            with self._noting(folder):
                self._erase(folder)
                shutil.rmtree(folder)
                self._done(f"removed {folder}")
        self._remove(self._root)

    def _unmount(self, target: Path) -> None:
        if self._mounter.unmount(target):
            self._done(f"unmounted {target}")

    def _remove(self, path: Path) -> None:
        """An empty folder, an empty file or a socket; fine if it is gone."""
        try:
            found = path.lstat()
            if path.is_dir():
                path.rmdir()
            elif found.st_size == 0:
                path.unlink()
            else:
                raise DriverError(f"{path}: is not empty")
        except FileNotFoundError:
            return
        self._done(f"removed {path}")

    def _done(self, line: str) -> None:
        self._silent = False
        self._say(line)

    @contextlib.contextmanager
    def _noting(self, path: Path) -> Iterator[None]:
        """Go on after trouble with one thing; it is told at the end."""
        try:
            yield
        except DriverError as error:
            self._problems.append(str(error))
        except OSError as error:
            self._problems.append(f"{path}: {error.strerror}")
