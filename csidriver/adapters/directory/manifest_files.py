"""Manifests by their slot, straight from the files; a file that is not fit counts as absent."""

import logging
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from csidriver.adapters.directory import manifest
from csidriver.adapters.directory.files import FileTree
from csidriver.adapters.directory.object_key import ObjectKey
from csidriver.core.kubernetes.secret import Secret

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object as its file has it, in the clear: never to be logged."""

    key: ObjectKey
    manifest: dict[str, Any]
    version: str
    age: float

    @property
    def secret(self) -> Secret:
        """The object, a Secret, as the driver sees it."""
        secret = manifest.to_secret(self.manifest, self.key, self.version)
        # The file's time is that of the newest write, and finer than what managers are told with.
        ours = manifest.is_written_by_driver(self.manifest)
        return replace(secret, age=self.age if ours else None)

    def __repr__(self) -> str:
        return f"Stored({self.key.path}, {self.version})"


class ManifestFiles:
    """Reads objects and warns, once for each content, about files that are none."""

    def __init__(self, root: Path) -> None:
        self.tree = FileTree(root)
        self._lock = threading.Lock()
        self._warned: dict[str, str] = {}

    def load(self, slot: ObjectKey) -> StoredObject | None:
        """The object in this slot, None if there is none."""
        version = ""
        try:
            found = self.tree.read(slot)
            if found is None:
                return None
            content, age = found
            version = manifest.version(content)
            return StoredObject(slot, manifest.decode(content, slot), version, age)
        except manifest.InvalidManifest as unfit:
            self.warn(slot.path, reason=str(unfit), version=version)
            return None

    def store(self, slot: ObjectKey, content: dict[str, Any]) -> StoredObject:
        """Write an object and return it as stored; call with the folder's lock held."""
        encoded = manifest.encode(content, slot)
        self.tree.write(slot, encoded)
        return StoredObject(slot, content, manifest.version(encoded), 0.0)

    def warn(self, path: str, *, reason: str, version: str = "") -> None:
        """Say that a file is ignored, unless that was said for this version of it."""
        with self._lock:
            if self._warned.get(path) == version + reason:
                return
            self._warned[path] = version + reason
        logger.warning("ignoring %r: %s", path, reason)
