"""Publishing and unpublishing volumes (CSI spec, NodePublishVolume and NodeUnpublishVolume)."""

import contextlib
import logging
import math
import os
import threading
from dataclasses import dataclass
from pathlib import Path

from csidriver.clock import Clock
from csidriver.core.companion import AccessToken
from csidriver.core.volume.readiness import (
    ObservedCompanion,
    can_stop_waiting,
    expired_error,
    is_valid_for_start,
    missing_error,
    unavailable_error,
)
from csidriver.errors import (
    DriverError,
    InFlight,
    InvalidRequest,
    NotReady,
    PublishedDifferently,
    TokenFileFailed,
)
from csidriver.node.companion_watcher import CompanionWatcher
from csidriver.node.metrics import NodeMetrics
from csidriver.node.publish_wait import PublishWaitLimiter
from csidriver.node.template_config_map import ConfigMaps, resolve_template
from csidriver.node.token_fs import TokenFilesystem, folder_name
from csidriver.node.tokenfile import RewriteResult
from csidriver.node.volume import Volume
from csidriver.node.volume_locks import VolumeLocks
from csidriver.node.volume_record import VolumeRecord, check_same_request, volumes_at_target

log = logging.getLogger(__name__)

# Seconds for the backend's first word on a companion when nothing else may be waited for.
FIRST_LOOK = 1.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What volumes work with.

    The first call for a volume may wait `publish_wait` seconds, `waiters` calls at once.
    """

    state: TokenFilesystem
    config_maps: ConfigMaps
    follower: CompanionWatcher
    clock: Clock
    metrics: NodeMetrics
    publish_wait: float = 10.0
    waiters: int = 8


class VolumeManager:
    """All volumes of the node. Calls for different volumes run side by side."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._around = surroundings
        self._lock = threading.Lock()
        self._volumes: dict[str, Volume] = {}
        self._locks = VolumeLocks()
        self._waits = PublishWaitLimiter(
            surroundings.publish_wait, surroundings.waiters, surroundings.clock
        )

    def recover(self) -> None:
        """Take up the volumes an earlier process published; their files are followed again.

        A folder without a readable record is left for the next publish or unpublish of its volume.
        """
        for folder in self._around.state.folders():
            try:
                record = VolumeRecord.load(folder)
            except TokenFileFailed as error:
                log.warning("volume set aside until kubelet asks for it: %s", error)
                continue
            if self._around.state.folder(record.volume_id) != folder:
                log.warning("volume set aside until kubelet asks for it: %s: misplaced", folder)
                continue
            self._add(self._volume(record))
            self._around.follower.follow(record.source, record.volume_id)

    def get(self, volume_id: str) -> Volume | None:
        """The volume if it is published."""
        with self._lock:
            return self._volumes.get(volume_id)

    def publish(self, wanted: VolumeRecord) -> None:
        """Mount the volume, or see that it is mounted; on return its file holds a valid token.

        On an error everything this call did is undone: kubelet may never call again.
        """
        volume_id, target = wanted.volume_id, Path(wanted.target_path)
        name, real = folder_name(volume_id), os.path.realpath(target)
        with self._locks.acquire(name) as cancel, self._locks.acquire(real):
            known = self.get(volume_id)
            # Without a record when that was lost, in a crash or later.
            shown = self._around.state.is_bound_at(volume_id, target)
            if known is not None:
                check_same_request(known.record, wanted, bound=shown)
            try:
                if not shown and self._volumes_at(target, real) - {name}:
                    raise PublishedDifferently(
                        f"target_path {target} belongs to another volume; unpublish that first"
                    )
                if known is None:
                    self._publish_first(wanted, cancel, shown=shown)
                    self._waits.forget(volume_id)
                else:
                    self._republish(known, target, shown=shown)
            except DriverError as error:
                if known is None and not shown:
                    raise
                # A final code would make older kubelets remove the folder of a running pod.
                raise NotReady(str(error)) from error

    def unpublish(self, volume_id: str, target: Path) -> None:
        """Unmount and forget the volume; fine when there is nothing left to do.

        Raises:
            InvalidRequest: the target belongs to another volume, and was left alone.
        """
        name, real = folder_name(volume_id), os.path.realpath(target)
        self._locks.cancel(name)
        self._around.follower.wake()
        with self._locks.acquire(name), self._locks.acquire(real):
            own = self._around.state.is_bound_at(volume_id, target)
            if not own and (found := self._volumes_at(target, real)) and name not in found:
                problem = f"target_path {target} belongs to another volume"
                raise InvalidRequest("NodeUnpublishVolume", [problem])
            self._waits.forget(volume_id)
            volume = self.get(volume_id)
            if volume is not None:
                self._around.follower.unfollow(volume.record.source, volume_id)
                volume.erase()
                # Without its file it is not published any more, whatever fails from here on.
                self._remove(volume_id)
                self._around.state.unbind(Path(volume.record.target_path))
            self._around.state.unbind(target)
            self._around.state.remove(name)

    def sweep(self, stop: threading.Event) -> None:
        """Remove folders that no volume, no running call and no mount needs, until `stop`."""
        for name in self._around.state.orphans():
            if stop.is_set():
                return
            with contextlib.suppress(InFlight), self._locks.acquire(name):
                with self._lock:
                    wanted = any(folder_name(volume_id) == name for volume_id in self._volumes)
                # A call may have mounted it, and ended, since it was found.
                if not wanted and name in self._around.state.orphans():
                    log.warning("removing folder %s, which belongs to no volume", name)
                    self._around.state.remove(name)

    def remaining(self) -> list[tuple[VolumeRecord, float]]:
        """Seconds of life the token in each published file has left, where that is known."""
        with self._lock:
            volumes = list(self._volumes.values())
        return [(v.record, v.remaining()) for v in volumes if math.isfinite(v.remaining())]

    def cancel(self) -> None:
        """End every wait of a publish, also of one that is yet to begin; the process stops."""
        self._locks.cancel_all()
        self._around.follower.wake()

    def _volumes_at(self, target: Path, real: str) -> set[str]:
        with self._lock:
            records = [volume.record for volume in self._volumes.values()]
        return volumes_at_target(target, real, self._around.state.volumes_bound_at(target), records)

    def _republish(self, volume: Volume, target: Path, *, shown: bool) -> None:
        """A republish: no network, no second mount, an error only when the token has expired."""
        around, ref = self._around, volume.record.source
        if not volume.restore():
            raise missing_error(ref, around.follower.latest(ref), around.clock.now())
        # The file may be busy, or the new token not fit: the old one serves while it lives.
        around.follower.request_rewrite(volume.record.volume_id)
        if not shown:
            around.state.bind(volume.record.volume_id, target)
        if volume.remaining() <= 0:
            raise expired_error(ref, around.follower.latest(ref), around.clock.now())

    def _publish_first(self, wanted: VolumeRecord, cancel: threading.Event, *, shown: bool) -> None:
        """All of it, or nothing; what is `shown` already stays, a pod may be using it."""
        around, volume_id, target = self._around, wanted.volume_id, Path(wanted.target_path)
        record = resolve_template(wanted, around.config_maps, cancel)
        with contextlib.ExitStack() as undo:
            around.follower.follow(record.source, volume_id)
            undo.callback(around.follower.unfollow, record.source, volume_id)
            token = self._token(record, cancel)
            volume = self._volume(record)
            undo.callback(self._remove, volume_id)
            if not shown:
                undo.callback(around.state.remove, folder_name(volume_id))
            around.state.create_folder(volume_id)
            written = volume.write_initial(token, bound=shown)
            if not shown:
                undo.callback(around.state.unbind_if_possible, target)
                around.state.bind(volume_id, target)
            record.save(volume.folder)
            self._add(volume)
            # A token that came since `_token` found no volume to rewrite.
            late = volume.latest_token() is not token
            if not written or (late and volume.rewrite(leased=True)[0] is RewriteResult.BUSY):
                around.follower.request_rewrite(volume_id)
            undo.pop_all()

    def _token(self, record: VolumeRecord, cancel: threading.Event) -> AccessToken:
        """A token that is valid long enough, or why there is none. Waits if it may."""
        around, ref = self._around, record.source
        minimum = record.attributes.min_validity
        # Half of the server's threads stay free, or waiting pods would block unpublishing ones.
        # The others still take one look: a token that is there must not wait for any that is not.
        with self._waits.allowed_wait(record.volume_id) as patience:

            def over(sighting: ObservedCompanion) -> bool:
                seen = sighting.answered or sighting.error is not None
                settled = can_stop_waiting(sighting, around.clock.now(), minimum)
                return settled or (seen and not patience)

            look = min(around.publish_wait, FIRST_LOOK)
            sighting = around.follower.wait(ref, over, patience or look, cancel)
        now = around.clock.now()
        companion = sighting.companion
        if (
            companion is None
            or companion.token is None
            or not is_valid_for_start(sighting, now, minimum)
        ):
            raise unavailable_error(ref, sighting, now, minimum)
        return companion.token

    def _volume(self, record: VolumeRecord) -> Volume:
        folder = self._around.state.folder(record.volume_id)
        return Volume(record, folder, self._around.follower, self._around.clock)

    def _add(self, volume: Volume) -> None:
        with self._lock:
            self._volumes[volume.record.volume_id] = volume
            self._around.metrics.set_volumes(len(self._volumes))

    def _remove(self, volume_id: str) -> None:
        with self._lock:
            self._volumes.pop(volume_id, None)
            self._around.metrics.set_volumes(len(self._volumes))
