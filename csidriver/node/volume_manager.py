"""Publishing and unpublishing volumes (CSI spec, NodePublishVolume and NodeUnpublishVolume)."""

import contextlib
import logging
import math
import os
import threading
from dataclasses import replace
from pathlib import Path
from weakref import WeakValueDictionary

from csidriver.clock import Clock
from csidriver.core.volume.readiness import expired_error, missing_error
from csidriver.core.volume.template import Template
from csidriver.errors import (
    DriverError,
    InFlight,
    InvalidRequest,
    NotReady,
    PublishedDifferently,
    TokenFileFailed,
)
from csidriver.node.companion_watcher import CompanionSource, CompanionWatcher
from csidriver.node.metrics import NodeMetrics
from csidriver.node.pod_namespace import check_namespace, resolve_template
from csidriver.node.publish_wait import PublishWaitLimiter
from csidriver.node.token_fs import TokenFilesystem, folder_name
from csidriver.node.tokenfile import RewriteResult
from csidriver.node.volume import OUTDATED, Volume
from csidriver.node.volume_locks import VolumeLocks
from csidriver.node.volume_record import (
    VolumeRecord,
    check_limits,
    check_same_request,
    volumes_at_target,
)

log = logging.getLogger(__name__)


class VolumeManager:
    """All volumes of the node. Calls for different volumes run side by side.

    A volume is published when it has a record, and bound when its data is mounted on its target.
    A crash may leave each without the other.
    """

    def __init__(
        self,
        token_fs: TokenFilesystem,
        watcher: CompanionWatcher,
        waits: PublishWaitLimiter,
        companions: CompanionSource,
        clock: Clock,
        metrics: NodeMetrics,
    ) -> None:
        self._token_fs = token_fs
        self._watcher = watcher
        self._waits = waits
        self._companions = companions
        self._clock = clock
        self._locks = VolumeLocks()
        self._lock = threading.Lock()
        self._volumes: dict[str, Volume] = {}
        metrics.count_volumes(lambda: [volume.outdated for volume in self._all()])
        # Equal templates are in memory once.
        self._templates: WeakValueDictionary[bytes, Template] = WeakValueDictionary()

    def recover(self) -> None:
        """Take over the volumes that an earlier process published.

        A folder without a readable record waits for the next call for its volume.
        """
        outdated = self._token_fs.outdated_targets()
        for folder in self._token_fs.folders():
            try:
                record = VolumeRecord.load(folder)
            except TokenFileFailed as error:
                log.warning("ignoring a volume until kubelet calls for it: %s", error)
                continue
            if self._token_fs.folder(record.volume_id) != folder:
                log.warning("ignoring folder %s: its record is of another volume", folder)
                continue
            volume = self._new_volume(record)
            volume.outdated = os.path.realpath(record.target_path) in outdated
            self._add(volume)
            self._watcher.follow(record.source, record.pod, record.volume_id)
            # Another volume of its source may have brought the companion already.
            self._watcher.request_rewrite(record.volume_id)

    def get(self, volume_id: str) -> Volume | None:
        with self._lock:
            return self._volumes.get(volume_id)

    def publish(self, wanted: VolumeRecord) -> None:
        """Mount a volume with a valid token in its file; repeating it does no harm.

        A failed call undoes all it did, because kubelet may never call again.
        """
        volume_id, target = wanted.volume_id, Path(wanted.target_path)
        name, real_target = folder_name(volume_id), os.path.realpath(target)
        with self._locks.acquire(name) as cancel, self._locks.acquire(real_target):
            volume = self.get(volume_id)
            bound = self._token_fs.is_bound_at(volume_id, target)
            # A mount of a file system or folder that is gone is that of a running pod, too.
            has_run = bound or name in self._token_fs.volumes_bound_at(target)
            if volume is not None:
                check_same_request(volume.record, wanted, bound=bound)
            try:
                self._token_fs.mount.mend()
                # Nothing can be mounted over a folder that was removed.
                if target.is_dir() and target.stat().st_nlink == 0:
                    if volume is not None:
                        volume.outdated = True
                    raise NotReady(OUTDATED)
                if not bound and self._volumes_at(target, real_target) - {name}:
                    raise PublishedDifferently(
                        f"target_path {target} belongs to another volume; unpublish that one first"
                    )
                if volume is None:
                    self._publish_first(wanted, cancel, bound=bound)
                    self._waits.forget(volume_id)
                else:
                    self._republish(volume, target, bound=bound)
            except DriverError as error:
                if volume is None and not has_run:
                    raise
                # A final code would make older kubelets remove the folder of a running pod.
                raise NotReady(str(error)) from error

    def unpublish(self, volume_id: str, target: Path) -> None:
        """Unmount and forget a volume; repeating it does no harm.

        Raises:
            InvalidRequest: the target belongs to another volume, and is left as it is.
        """
        name, real_target = folder_name(volume_id), os.path.realpath(target)
        self._locks.cancel(name)
        self._watcher.wake()
        with self._locks.acquire(name), self._locks.acquire(real_target):
            if not self._token_fs.is_bound_at(volume_id, target):
                owners = self._volumes_at(target, real_target)
                if owners and name not in owners:
                    problem = f"target_path {target} belongs to another volume"
                    raise InvalidRequest("NodeUnpublishVolume", [problem])
            self._waits.forget(volume_id)
            self._token_fs.mount.mend()
            volume = self.get(volume_id)
            if volume is not None:
                self._watcher.unfollow(volume.record.source, volume_id)
                volume.erase()
                # Without its file the volume is not published any more, even if the rest fails.
                self._remove(volume_id)
                self._token_fs.unbind(Path(volume.record.target_path))
            self._token_fs.unbind(target)
            self._token_fs.remove(name)

    def sweep(self, stop: threading.Event) -> None:
        """Remove folders that no volume, no running call and no mount needs, until `stop`."""
        for name in self._token_fs.orphans():
            if stop.is_set():
                return
            with contextlib.suppress(InFlight), self._locks.acquire(name):
                published = {folder_name(volume.record.volume_id) for volume in self._all()}
                # A call may have mounted the folder since the list was made.
                if name not in published and name in self._token_fs.orphans():
                    log.warning("removing folder %s, which belongs to no volume", name)
                    self._token_fs.remove(name)

    def remaining(self) -> list[tuple[VolumeRecord, float]]:
        """Return the seconds of life of each published file's token, where they are known."""
        volumes = self._all()
        return [(v.record, v.remaining()) for v in volumes if math.isfinite(v.remaining())]

    def cancel(self) -> None:
        """End every wait of a publish, now and from now on, because the process stops."""
        self._locks.cancel_all()
        self._watcher.wake()

    def _volumes_at(self, target: Path, real_target: str) -> set[str]:
        bound = self._token_fs.volumes_bound_at(target)
        return volumes_at_target(target, real_target, bound, [v.record for v in self._all()])

    def _republish(self, volume: Volume, target: Path, *, bound: bool) -> None:
        """Repair file and mount without the backend; fail only if the token has expired."""
        ref, volume_id = volume.record.source, volume.record.volume_id
        if not volume.restore():
            raise missing_error(ref, self._watcher.latest(ref), self._clock.now())
        # Not here: the file may be busy, and the old token serves while it is valid.
        self._watcher.request_rewrite(volume_id)
        if not bound:
            self._token_fs.bind(volume_id, target)
        if volume.remaining() <= 0:
            raise expired_error(ref, self._watcher.latest(ref), self._clock.now())
        volume.check_mounts()

    def _publish_first(self, wanted: VolumeRecord, cancel: threading.Event, *, bound: bool) -> None:
        volume_id, target = wanted.volume_id, Path(wanted.target_path)
        check_limits(wanted, [v.record for v in self._all()], self._token_fs.limits)
        record = resolve_template(wanted, self._companions)
        with contextlib.ExitStack() as undo:
            self._watcher.follow(record.source, record.pod, volume_id)
            undo.callback(self._watcher.unfollow, record.source, volume_id)
            companion, token = self._waits.wait_for_token(record, self._watcher, cancel)
            record = check_namespace(record, companion, self._companions)
            volume = self._new_volume(record)
            name = folder_name(volume_id)
            volume.outdated = not bound and name in self._token_fs.volumes_bound_at(target)
            undo.callback(self._remove, volume_id)
            # A volume that is bound already stays: a pod may be using it.
            if not bound:
                undo.callback(self._token_fs.remove, name)
            self._token_fs.create_folder(volume_id)
            written = volume.write_initial(token, bound=bound)
            if not bound:
                undo.callback(self._token_fs.undo_bind, volume_id, target)
                self._token_fs.bind(volume_id, target)
            record.save(volume.folder)
            self._add(volume)
            # A newer token that came in the meantime found no volume to rewrite.
            outdated = volume.latest_token() is not token
            if not written or (outdated and volume.rewrite(leased=True)[0] is RewriteResult.BUSY):
                self._watcher.request_rewrite(volume_id)
            undo.pop_all()
        volume.check_mounts()

    def _new_volume(self, record: VolumeRecord) -> Volume:
        folder, template = self._token_fs.folder(record.volume_id), record.attributes.template
        with self._lock:
            template = self._templates.setdefault(template.content, template)
        record = replace(record, attributes=replace(record.attributes, template=template))
        return Volume(record, folder, self._watcher, self._clock)

    def _all(self) -> list[Volume]:
        with self._lock:
            return list(self._volumes.values())

    def _add(self, volume: Volume) -> None:
        with self._lock:
            self._volumes[volume.record.volume_id] = volume

    def _remove(self, volume_id: str) -> None:
        with self._lock:
            self._volumes.pop(volume_id, None)
