"""One published volume: its record and its token file."""

import math
import threading
from pathlib import Path

from csidriver.clock import Clock
from csidriver.core.companion import AccessToken
from csidriver.errors import NotReady
from csidriver.node import tokenfile
from csidriver.node.companion_watcher import CompanionWatcher
from csidriver.node.token_fs import DATA_FOLDER
from csidriver.node.tokenfile import RewriteResult
from csidriver.node.volume_record import VolumeRecord

OUTDATED = (
    "containers of this pod that have started already keep an old token: somebody removed their "
    "token file, or unmounted the token file system; delete the pod"
)


class Volume:
    """A volume and its token file. `lock` serialises the writers of the file."""

    def __init__(
        self, record: VolumeRecord, folder: Path, watcher: CompanionWatcher, clock: Clock
    ) -> None:
        self.record = record
        self.folder = folder
        self.file = folder / DATA_FOLDER / record.attributes.file_name
        self.lock = threading.Lock()
        self.unpublished = False
        # True if a container may have a mount of an earlier file, which gets no more tokens.
        self.outdated = False
        self._watcher = watcher
        self._clock = clock
        self._expires_at: float | None = None

    def check_mounts(self) -> None:
        """Raise NotReady if only new containers see the file of this volume."""
        if self.outdated:
            raise NotReady(OUTDATED)

    def latest_token(self) -> AccessToken | None:
        """Return the newest token of the volume's source, or None if none was seen yet.

        A pod that was deleted by force may outlive its namespace; it gets no token of a later one.
        """
        companion = self._watcher.latest(self.record.source).companion
        owner = self.record.namespace_uid
        if companion is None or (owner and companion.namespace_uid != owner):
            return None
        return companion.token

    def remaining(self) -> float:
        """Return the seconds until the token in the file expires, negative afterwards.

        After a restart they are infinite until the companion is seen again.
        """
        return math.inf if self._expires_at is None else self._expires_at - self._clock.now()

    def write_initial(self, token: AccessToken, *, bound: bool) -> bool:
        """Write a token into the file, which is created if it is missing.

        Return False, and leave the file to the rotation, if a pod to which it is `bound` already
        is reading it.
        """
        attributes = self.record.attributes
        content = attributes.template.render(token)
        with self.lock:
            if not self.file.exists():
                owner, group, mode = attributes.owner, attributes.group, attributes.mode
                tokenfile.create(self.file, content, uid=owner, gid=group, mode=mode)
            elif tokenfile.rewrite(self.file, content) is RewriteResult.BUSY:
                if bound:
                    return False
                raise NotReady(f"the token file of volume {self.record.volume_id} is being read")
            self._expires_at = token.expires_at
        return True

    def restore(self) -> bool:
        """Create a missing file again; return False if there is no valid token for it."""
        if not self.file.exists():
            token = self.latest_token()
            if token is None or token.expires_at <= self._clock.now():
                return False
            self.write_initial(token, bound=True)
            # A subPath mount keeps the file that was removed.
            self.outdated = True
        return True

    def rewrite(self, *, leased: bool) -> tuple[RewriteResult, float]:
        """Write the newest token into the file in place; see `tokenfile.rewrite`.

        Return the result, and when the refresher wrote the token (epoch seconds).
        """
        with self.lock:
            # Read under the lock, or a slower writer would write an older token later.
            token = self.latest_token()
            if token is None or self.unpublished:
                return RewriteResult.UNCHANGED, 0.0
            if token.expires_at <= self._clock.now():
                # The file's token is not newer, which matters after a restart.
                if self._expires_at is None:
                    self._expires_at = token.expires_at
                return RewriteResult.UNCHANGED, 0.0
            content = self.record.attributes.template.render(token)
            result = tokenfile.rewrite(self.file, content, leased=leased)
            if result is not RewriteResult.BUSY:
                self._expires_at = token.expires_at
        return result, token.written_at

    def erase(self) -> None:
        """Empty and remove the file, so that a mount that stays behind shows no token."""
        with self.lock:
            self.unpublished = True
            # First: a process that finds a record expects a good file.
            VolumeRecord.discard(self.folder)
            tokenfile.erase(self.file)
