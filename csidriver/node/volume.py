"""One published volume: its record and its token file."""

import math
import threading
from pathlib import Path

from csidriver.clock import Clock
from csidriver.core.companion import AccessToken
from csidriver.errors import NotReady, TokenFileFailed
from csidriver.node import tokenfile
from csidriver.node.companion_watcher import CompanionWatcher
from csidriver.node.token_fs import DATA_FOLDER
from csidriver.node.tokenfile import RewriteResult
from csidriver.node.volume_record import VolumeRecord


class Volume:
    """A volume and what its file holds. `lock` keeps writers of the file apart."""

    def __init__(
        self, record: VolumeRecord, folder: Path, watcher: CompanionWatcher, clock: Clock
    ) -> None:
        self.record = record
        self.folder = folder
        self.file = folder / DATA_FOLDER / record.attributes.file_name
        self.lock = threading.Lock()
        self.unpublished = False
        self._watcher = watcher
        self._clock = clock
        self._expires_at: float | None = None

    def latest_token(self) -> AccessToken | None:
        """The newest token of the volume's source, None if none was ever seen."""
        companion = self._watcher.latest(self.record.source).companion
        return None if companion is None else companion.token

    def remaining(self) -> float:
        """Seconds of life the token in the file has left; negative once it has expired.

        Infinite while it is unknown: after a restart, until the companion is seen again.
        """
        return math.inf if self._expires_at is None else self._expires_at - self._clock.now()

    def write_initial(self, token: AccessToken, *, bound: bool) -> bool:
        """Put a token into the file before anybody can read it, creating the file if need be.

        Where a pod is `shown` the file already and reads it just now, it stays as it is, and the
        result is False: the rotation has the patience.
        """
        content = self.record.attributes.template.render(token)
        with self.lock:
            if not self.file.exists():
                self._create(content)
            elif tokenfile.rewrite(self.file, content) is RewriteResult.BUSY:
                if bound:
                    return False
                raise NotReady(f"the token file of volume {self.record.volume_id} is being read")
            self._check(content)
            self._expires_at = token.expires_at
        return True

    def restore(self) -> bool:
        """Put a missing file back, with a token that lives; False if there is none."""
        with self.lock:
            if self.file.exists():
                return True
            token = self.latest_token()
            if token is None or self.unpublished or token.expires_at <= self._clock.now():
                return False
            content = self.record.attributes.template.render(token)
            self._create(content)
            self._check(content)
            self._expires_at = token.expires_at
        return True

    def rewrite(self, *, leased: bool) -> tuple[RewriteResult, float]:
        """Bring the newest token into the file in place; see `tokenfile.rewrite`.

        Returns how it ended and when the refresher wrote the token (epoch seconds).
        """
        with self.lock:
            # Looked up under the lock, or a slower writer would put an older token back.
            token = self.latest_token()
            if token is None or self.unpublished:
                return RewriteResult.UNCHANGED, 0.0
            if token.expires_at <= self._clock.now():
                # No improvement on what the file holds, which after a restart is no younger.
                if self._expires_at is None:
                    self._expires_at = token.expires_at
                return RewriteResult.UNCHANGED, 0.0
            content = self.record.attributes.template.render(token)
            outcome = tokenfile.rewrite(self.file, content, leased=leased)
            if outcome is not RewriteResult.BUSY:
                self._expires_at = token.expires_at
        return outcome, token.written_at

    def erase(self) -> None:
        """Empty and remove the file: even a mount that stays behind shows no token then."""
        with self.lock:
            self.unpublished = True
            # First: a process that finds a record takes the file for good.
            VolumeRecord.discard(self.folder)
            tokenfile.erase(self.file)

    def _create(self, content: bytes) -> None:
        attributes = self.record.attributes
        uid, gid, mode = attributes.owner, attributes.group, attributes.mode
        tokenfile.create(self.file, content, uid=uid, gid=gid, mode=mode)

    def _check(self, content: bytes) -> None:
        if tokenfile.read(self.file) != content:
            raise TokenFileFailed(f"{self.file}: does not hold what was written")
