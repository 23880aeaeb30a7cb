"""The mounts of the token file system: a tmpfs in the plugin's folder, and a read-only view of it.

A publish binds a folder of the view, which is read-only before anything is bound from it. To
remount a bind read-only later would only change this container's mount namespace; the pod could
write.
"""

import contextlib
import logging
import os
import threading
from pathlib import Path
from typing import Protocol

from csidriver.config import NodeSettings
from csidriver.core.volume.mountinfo import Mount
from csidriver.errors import InvalidSettings, MountFailed

log = logging.getLogger(__name__)

_TMPFS = "tokens"


class Mounter(Protocol):
    """Mount operations; each raises MountFailed."""

    def table(self) -> list[Mount]: ...

    def bind(self, source: Path, target: Path) -> None: ...

    def bind_read_only(self, source: Path, target: Path) -> None: ...

    def clone(self, source: Path) -> int: ...

    def attach(self, clone: int, target: Path) -> None: ...

    def make_writable(self, target: Path) -> None: ...

    def mount_tmpfs(self, target: Path, *, size: int, inodes: int, context: str) -> None: ...

    def unmount(self, target: Path) -> bool: ...


class TokenMount:
    """The token file system as mounted. `prepare` comes first, once per process.

    `root` leads through a further mount, without a path, which nobody can unmount or cover: a token
    goes to this file system or nowhere. The mount at `path` is for the next process.
    """

    def __init__(self, settings: NodeSettings, mounter: Mounter) -> None:
        self.path = settings.plugin_dir / _TMPFS
        self.root = self.path
        self._settings = settings
        self._view = settings.view
        self._mounter = mounter
        self._lock = threading.Lock()
        self._clone = -1
        self._identity = (-1, -1)

    @property
    def device(self) -> str:
        """The device of the file system, as in mountinfo."""
        return f"{os.major(self._identity[0])}:{os.minor(self._identity[0])}"

    def prepare(self) -> None:
        """Mount the view, and the tmpfs unless an earlier process of this node did.

        Raises:
            InvalidSettings: mounts do not propagate from here to the host.
            MountFailed: the kernel refused.
        """
        settings = self._settings
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        table = self._mounter.table()
        for folder in (settings.plugin_dir, settings.pods):
            if not mount_of(table, folder).shared:
                problem = f"{folder} is not on a shared mount, so pods would see no volumes"
                remedy = "mount it with mountPropagation: Bidirectional"
                raise InvalidSettings("mount propagation", [problem, remedy])
        stack = [mount for mount in table if mount.target == str(self.path.resolve())]
        # Whatever is below other mounts was there first, and volumes are mounted from it.
        tmpfs = [mount.device for mount in stack if (mount.fs_type, mount.root) == ("tmpfs", "/")]
        while stack and stack[-1].device not in tmpfs[:1]:
            log.warning("unmounting a %s that covers %s", stack.pop().fs_type, self.path)
            self._mounter.unmount(self.path)
        if not stack:
            self._mounter.mount_tmpfs(
                self.path,
                size=settings.size,
                inodes=settings.inodes,
                context=settings.selinux_context,
            )
        self._keep_clone(self.path)
        self._mount_view()  # instead of an earlier process's; binds from that stay
        self.mend()

    def mend(self) -> None:
        """Mount again what was unmounted or covered, and make writable what was made read-only.

        An error is logged, and `problems` stay: the probes report them, and kubelet restarts the
        container. Until then files that exist get their tokens.
        """
        with self._lock:
            if self._clone < 0 or not (problems := "; ".join(self.problems())):
                return
            try:
                self._make_again()
                log.warning("mended: %s", problems)
            except (MountFailed, OSError) as error:
                log.error("cannot mend: %s (%s)", problems, error)  # noqa: TRY400 - says all

    def problems(self) -> list[str]:
        """Return what was unmounted, covered or made read-only, and is not mended yet."""
        problems = []
        if not self._is_at(self.path):
            problems.append(f"the token file system is not at {self.path}: unmounted or covered")
        elif _is_read_only(self.root):
            problems.append(f"the token file system at {self.path} is read-only")
        if not self._is_viewed():
            problems.append(f"the view of the token file system is not at {self._view}")
        return problems

    def close(self) -> None:
        """Unmount the view; volumes stay mounted, and their files stay."""
        self._unmount_all(self._view)
        with self._lock:
            if self._clone >= 0:
                os.close(self._clone)
            self._clone, self._identity = -1, (-1, -1)

    def _make_again(self) -> None:
        while not self._is_at(self.path) and self._mounter.unmount(self.path):
            pass
        if not self._is_at(self.path):
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._attach()
        if _is_read_only(self.root):
            self._mounter.make_writable(self.path)
            self._keep_clone(self.path)
        if not self._is_viewed():
            self._mount_view()

    def _attach(self) -> None:
        if not self._is_viewed():
            self._mounter.attach(self._clone, self.path)
            # By its descriptor: somebody may have unmounted or covered it again.
            self._keep_clone(self.root)
            return
        # Not our own clone, which could not be mounted once more after an unmount before the next.
        spare = self._mounter.clone(self._view)
        try:
            self._mounter.attach(spare, self.path)
            self._mounter.make_writable(Path(f"/proc/self/fd/{spare}"))
        finally:
            os.close(spare)

    def _mount_view(self) -> None:
        self._unmount_all(self._view)
        self._view.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._mounter.bind_read_only(self.path, self._view)

    def _keep_clone(self, source: Path) -> None:
        clone = self._mounter.clone(source)
        identity = _identity(Path(f"/proc/self/fd/{clone}"))
        is_below = identity[0] == _identity(self.path.parent)[0]
        if is_below or (self._clone >= 0 and identity != self._identity):
            os.close(clone)
            raise MountFailed("open_tree", str(self.path), "unmounted or covered meanwhile")
        if self._clone < 0:
            self._clone = clone
        else:
            # The same number: it is in the paths of all volumes.
            os.dup2(clone, self._clone, inheritable=False)
            os.close(clone)
        self.root = Path(f"/proc/self/fd/{self._clone}")
        self._identity = identity

    def _is_at(self, path: Path) -> bool:
        with contextlib.suppress(OSError):
            return _identity(path) == self._identity
        return False

    def _is_viewed(self) -> bool:
        with contextlib.suppress(OSError):
            return self._is_at(self._view) and _is_read_only(self._view)
        return False

    def _unmount_all(self, target: Path) -> None:
        while self._mounter.unmount(target):
            pass


def mount_of(table: list[Mount], path: Path) -> Mount:
    """Return the mount that a path is on."""
    covering = [mount for mount in table if path.resolve().is_relative_to(mount.target)]
    # The longest prefix; of several mounts on the same path the topmost.
    return max(reversed(covering), key=lambda mount: len(mount.target))


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _is_read_only(path: Path) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
