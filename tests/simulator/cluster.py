"""An API server whose watches tell of every write."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from csidriver.core import names
from csidriver.core.kubernetes.change import SecretChange, TokenObject
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import SourceRef
from csidriver.core.refresh.source import is_source
from tests.core.refresh.secret_store import USER, Key, SecretStore
from tests.simulator.event_loop import EventLoop


@dataclass(kw_only=True)
class Cluster(SecretStore):
    """The Secrets, and whose grants and companions (`token_objects`) there are or may be."""

    loop: EventLoop
    token_objects: dict[Key, SourceRef] = field(default_factory=dict)
    change_callbacks: list[Callable[[SecretChange], None]] = field(default_factory=list)

    @property
    def now(self) -> float:
        return self.loop.now

    def store(self, secret: Secret, writer: str = USER) -> Secret:
        manager = "kubectl" if writer == USER else ""
        stored = super().store(replace(secret, manager=manager), writer)
        self._notify((secret.namespace, secret.name), stored)
        return stored

    def delete(self, base: Secret, writer: str = USER) -> None:
        key = base.namespace, base.name
        existed = key in self.secrets
        super().delete(base, writer)
        if existed:
            self._notify(key, None)

    def changes(self) -> list[SecretChange]:
        return [change for key, s in self.secrets.items() if (change := self._change(key, s))]

    def refs(self) -> list[SourceRef]:
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
            ref = SourceRef(namespace, name)
            return SecretChange(ref, TokenObject.SOURCE, source_version, by_us)
        is_grant = namespace == names.DRIVER_NAMESPACE
        owner = self.token_objects.get(key)
        what = TokenObject.GRANT if is_grant else TokenObject.COMPANION
        return None if owner is None else SecretChange(owner, what, version)

    def add_token(self, ref: SourceRef) -> None:
        self.token_objects[names.DRIVER_NAMESPACE, ref.grant] = ref
        self.token_objects[names.TOKENS_NAMESPACE, ref.companion] = ref
