"""Secrets as an API server keeps them: versions, conflicts, owners and ages."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from csidriver.core import names
from csidriver.core.kubernetes.secret import Secret, SecretPatch
from csidriver.errors import StoreConflict

Key = tuple[str, str]
USER = "user"


@dataclass
class SecretStore:
    """All Secrets. Each write calls `on_write(writer, before, after)`."""

    secrets: dict[Key, Secret] = field(default_factory=dict)
    # When the driver wrote each of them last.
    written: dict[Key, float] = field(default_factory=dict)
    on_write: Callable[[str, Secret | None, Secret | None], None] = lambda _w, _b, _a: None
    writes: int = 0

    @property
    def now(self) -> float:
        """The time by the clock of this server."""
        raise NotImplementedError

    def read(self, key: Key) -> Secret | None:
        secret, at = self.secrets.get(key), self.written.get(key)
        return secret if secret is None or at is None else replace(secret, age=self.now - at)

    def create(self, secret: Secret, writer: str = USER) -> Secret:
        """Store a new Secret, without what a manifest cannot carry."""
        if (secret.namespace, secret.name) in self.secrets:
            raise StoreConflict("exists")
        stored = Secret.from_manifest(secret.to_manifest())
        return self.store(replace(stored, uid=f"uid-{self.writes + 1}"), writer)

    def patch(self, base: Secret, patch: SecretPatch, writer: str) -> Secret:
        """Apply a merge patch to an object at its version."""
        current = self.secrets.get((base.namespace, base.name))
        if current is None or current.resource_version != base.resource_version:
            raise StoreConflict("moved on")
        merged = {**current.annotations, **patch.annotations}
        kept = {key: text for key, text in merged.items() if text is not None}
        data = {key: v for key, v in {**current.data, **patch.data}.items() if v is not None}
        return self.store(replace(current, annotations=kept, data=data), writer)

    def delete(self, base: Secret, writer: str = USER) -> None:
        """Delete an object, if it exists; the driver at its version only."""
        key = base.namespace, base.name
        current = self.secrets.get(key)
        if current is None:
            return
        if writer != USER and current.resource_version != base.resource_version:
            raise StoreConflict("moved on")
        del self.secrets[key]
        self.written.pop(key, None)
        self.on_write(writer, current, None)

    def store(self, secret: Secret, writer: str = USER) -> Secret:
        """Store an object as it is; the driver becomes the manager of what it writes."""
        key = secret.namespace, secret.name
        self.writes += 1
        stored = replace(secret, resource_version=str(self.writes))
        if writer != USER:
            stored = replace(stored, manager=names.FIELD_MANAGER)
            self.written[key] = self.now
        before, self.secrets[key] = self.secrets.get(key), stored
        self.on_write(writer, before, stored)
        return stored
