"""Manifests by their keys; a file that is not a valid manifest counts as absent."""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from csidriver.adapters.directory import manifest
from csidriver.adapters.directory.files import FileTree
from csidriver.adapters.directory.object_key import ObjectKey
from csidriver.core.kubernetes.secret import Secret

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StoredObject:
    """The content of one file, not redacted: must never be logged."""

    key: ObjectKey
    manifest: dict[str, Any] = field(repr=False)
    version: str

    @property
    def secret(self) -> Secret:
        metadata = self.manifest["metadata"]
        own = {"uid": metadata.get("uid") or self.key.uid, "resourceVersion": self.version}
        return Secret.from_manifest({**self.manifest, "metadata": metadata | own})


class ManifestFiles:
    """Reads and writes objects; warns once for each content that is not valid."""

    def __init__(self, root: Path) -> None:
        self.tree = FileTree(root)
        self._warned: dict[str, str] = {}

    def load(self, key: ObjectKey) -> StoredObject | None:
        version = ""
        try:
            content = self.tree.read(key)
            if content is None:
                return None
            version = manifest.version(content)
            return StoredObject(key, manifest.decode(content, key), version)
        except manifest.InvalidManifest as error:
            self.warn(key.path, reason=str(error), version=version)
            return None

    def store(self, key: ObjectKey, content: dict[str, Any]) -> StoredObject:
        """Write an object and return it as stored; to be called with the tree's lock held."""
        encoded = manifest.encode(content, key)
        self.tree.write(key, encoded)
        return StoredObject(key, content, manifest.version(encoded))

    def warn(self, path: str, *, reason: str, version: str = "") -> None:
        """Log that a file is ignored, once for each version of it."""
        if self._warned.get(path) == version + reason:
            return
        self._warned[path] = version + reason
        logger.warning("ignoring %r: %s", path, reason)
