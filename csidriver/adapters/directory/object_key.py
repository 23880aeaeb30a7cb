"""Keys of stored objects, and the file names that follow from them.

An `ObjectKey` exists only for names that Kubernetes allows, so its path cannot leave its folder.
"""

import re
import uuid
from dataclasses import dataclass

from csidriver.core.kubernetes.validation import is_dns1123_label, is_dns1123_subdomain
from csidriver.errors import StoreRefused

_KIND = re.compile(r"[A-Za-z][A-Za-z0-9]{0,62}")
_SUFFIX = ".yaml"


@dataclass(frozen=True, slots=True, order=True)
class ObjectKey:
    """Namespace, kind in lower case, and name of one object."""

    namespace: str
    kind: str
    name: str

    @classmethod
    def of(cls, namespace: object, kind: object, name: object) -> "ObjectKey":
        """Return the key of an object; raises StoreRefused for names that are not valid."""
        if not is_dns1123_label(namespace):
            raise StoreRefused(f"{namespace!r:.80} is not a valid namespace name")
        if not (isinstance(kind, str) and _KIND.fullmatch(kind)):
            raise StoreRefused(f"{kind!r:.80} is not a valid kind")
        if not is_dns1123_subdomain(name):
            raise StoreRefused(f"{name!r:.80} is not a valid object name")
        return cls(namespace, kind.lower(), name)

    @classmethod
    def from_file(cls, namespace: str, file: str) -> "ObjectKey | None":
        """Return the key for a file name, None if it has another form."""
        kind, _, name = file.removesuffix(_SUFFIX).partition(".")
        try:
            key = cls.of(namespace, kind, name)
        except StoreRefused:
            return None
        return key if key.file == file else None

    @property
    def file(self) -> str:
        """Name of the file in the namespace's folder."""
        return f"{self.kind}.{self.name}{_SUFFIX}"

    @property
    def path(self) -> str:
        """Path of the file below the root, for messages."""
        return f"{self.namespace}/{self.file}"

    @property
    def uid(self) -> str:
        """The uid of an object whose manifest has none."""
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"oauth2-csi:{self.path}"))
