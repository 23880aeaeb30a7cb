"""Keys of stored objects: the one place that turns names into file names.

An `ObjectKey` exists only for names that Kubernetes allows, so its path stays in its folder.
"""

import re
import uuid
from dataclasses import dataclass

from csidriver.core.kubernetes.validation import is_dns1123_label, is_dns1123_subdomain
from csidriver.errors import StoreRefused

_KIND = re.compile(r"[A-Za-z][A-Za-z0-9]{0,62}")
_FILE_LENGTH = 255  # NAME_MAX of Linux file systems, shorter than a kind and the longest name
_SUFFIX = ".yaml"


@dataclass(frozen=True, slots=True, order=True)
class ObjectKey:
    """One object's namespace, lower case kind and name."""

    namespace: str
    kind: str
    name: str

    @classmethod
    def of(cls, namespace: object, kind: object, name: object) -> "ObjectKey":
        """The slot of an object; raises StoreRefused for names that Kubernetes would not take."""
        if not is_dns1123_label(namespace):
            raise StoreRefused(f"namespace {namespace!r:.80} is no DNS-1123 label")
        if not (isinstance(kind, str) and _KIND.fullmatch(kind)):
            raise StoreRefused(f"kind {kind!r:.80} is no kind")
        if not is_dns1123_subdomain(name):
            raise StoreRefused(f"name {name!r:.80} is no DNS-1123 subdomain")
        slot = cls(namespace, kind.lower(), name)
        if len(slot.file) > _FILE_LENGTH:
            raise StoreRefused(f"name {name!r:.80} is too long for a file of kind {kind}")
        return slot

    @classmethod
    def from_file(cls, namespace: str, file: str) -> "ObjectKey | None":
        """The slot that a file name means, None if it means none."""
        kind, _, name = file.removesuffix(_SUFFIX).partition(".")
        try:
            slot = cls.of(namespace, kind, name)
        except StoreRefused:
            return None
        return slot if slot.file == file else None

    @property
    def file(self) -> str:
        """Name of the file in the namespace's folder."""
        return f"{self.kind}.{self.name}{_SUFFIX}"

    @property
    def path(self) -> str:
        """Path of the file below the root, for people."""
        return f"{self.namespace}/{self.file}"

    @property
    def uid(self) -> str:
        """What stands in for the uid of an object whose author gave it none."""
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"oauth2-csi:{self.path}"))
