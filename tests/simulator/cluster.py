"""An API server in memory: versions, conflicts, failures, writes of unknown outcome, watches."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from csidriver.core import names
from csidriver.core.kubernetes.change import SecretChange, TokenObject
from csidriver.core.kubernetes.secret import Secret, SecretPatch
from csidriver.core.names import SourceRef
from csidriver.core.refresh.source import is_source
from csidriver.errors import StoreConflict
from tests.simulator.event_loop import EventLoop

Key = tuple[str, str]
ChangeCallback = Callable[[SecretChange], None]
WriteCallback = Callable[[str, Secret | None, Secret | None], None]


@dataclass
class Cluster:
    """All Secrets. Each write calls `on_write(writer, before, after)`."""

    loop: EventLoop
    secrets: dict[Key, Secret] = field(default_factory=dict)
    driver_wrote_at: dict[Key, float] = field(default_factory=dict)
    # Whose grants and companions there are or may be.
    token_objects: dict[Key, SourceRef] = field(default_factory=dict)
    change_callbacks: list[ChangeCallback] = field(default_factory=list)
    on_write: WriteCallback = lambda _w, _b, _a: None
    writes: int = 0

    def read(self, key: Key) -> Secret | None:
        """Return a Secret with its age by this server's clock."""
        secret, at = self.secrets.get(key), self.driver_wrote_at.get(key)
        return secret if secret is None or at is None else replace(secret, age=self.loop.now - at)

    def create(self, secret: Secret, writer: str) -> Secret:
        """Create an object with a new uid."""
        if (secret.namespace, secret.name) in self.secrets:
            raise StoreConflict("exists")
        return self.put(replace(secret, uid=f"uid-{self.writes + 1}"), writer)

    def patch(self, base: Secret, patch: SecretPatch, writer: str) -> Secret:
        """Apply a merge patch to an object at its version."""
        key = base.namespace, base.name
        current = self.secrets.get(key)
        if current is None or current.resource_version != base.resource_version:
            raise StoreConflict("moved on")
        merged = {**current.annotations, **patch.annotations}
        kept = {name: value for name, value in merged.items() if value is not None}
        data = {k: v for k, v in {**current.data, **patch.data}.items() if v is not None}
        return self.put(replace(current, annotations=kept, data=data), writer)

    def delete(self, base: Secret, writer: str) -> None:
        """Delete an object at its version, if it exists."""
        key = base.namespace, base.name
        current = self.secrets.get(key)
        if current is None:
            return
        if writer != "user" and current.resource_version != base.resource_version:
            raise StoreConflict("moved on")
        del self.secrets[key]
        self.driver_wrote_at.pop(key, None)
        self.on_write(writer, current, None)
        self._notify(key, None)

    def put(self, secret: Secret, writer: str) -> Secret:
        """Store an object as it is."""
        key = secret.namespace, secret.name
        self.writes += 1
        manager = "kubectl" if writer == "user" else names.FIELD_MANAGER
        stored = replace(secret, resource_version=str(self.writes), manager=manager)
        before, self.secrets[key] = self.secrets.get(key), stored
        if writer != "user":
            self.driver_wrote_at[key] = self.loop.now
        self.on_write(writer, before, stored)
        self._notify(key, stored)
        return stored

    def changes(self) -> list[SecretChange]:
        """Return the versions of all objects."""
        return [change for key, s in self.secrets.items() if (change := self._change(key, s))]

    def refs(self) -> list[SourceRef]:
        """Return all sources."""
        return [SourceRef(*key) for key, s in self.secrets.items() if is_source(s)]

    def _notify(self, key: Key, secret: Secret | None) -> None:
        change = self._change(key, secret)
        if change is not None:
            for watcher in self.change_callbacks:
                watcher(change)

    def _change(self, key: Key, secret: Secret | None) -> SecretChange | None:
        namespace, name = key
        version = "" if secret is None else secret.resource_version
        if namespace not in (names.DRIVER_NAMESPACE, names.TOKENS_NAMESPACE):
            source_version = version if secret is not None and is_source(secret) else ""
            by_us = secret is not None and secret.manager == names.FIELD_MANAGER
            return SecretChange(
                SourceRef(namespace, name), TokenObject.SOURCE, source_version, by_us
            )
        token_object = (
            TokenObject.GRANT if namespace == names.DRIVER_NAMESPACE else TokenObject.COMPANION
        )
        ref = self.token_objects.get(key)
        return None if ref is None else SecretChange(ref, token_object, version)

    def add_token(self, ref: SourceRef) -> None:
        """Note whose grant and companion these names are."""
        self.token_objects[names.DRIVER_NAMESPACE, ref.grant] = ref
        self.token_objects[names.TOKENS_NAMESPACE, ref.companion] = ref
