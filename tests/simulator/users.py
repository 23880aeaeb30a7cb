"""Actions of users: log in again, apply old manifests, delete, re-create, copy, ask to refresh."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from csidriver.core import annotations, names
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.kubernetes.timestamp import format_rfc3339
from csidriver.core.names import SourceRef
from csidriver.core.sensitive import Sensitive
from tests.simulator.network import Network
from tests.simulator.write_checks import refresh_token

NAMESPACE = "physics"


@dataclass
class Users:
    """The users, with the manifest that each Secret was applied from."""

    network: Network
    manifests: dict[SourceRef, str] = field(default_factory=dict)
    logins: int = 0

    def create_secret(self, name: str) -> SourceRef:
        ref = SourceRef(NAMESPACE, name)
        self.network.cluster.add_token(ref)
        self._reseed(ref)
        return ref

    def do_something(self) -> None:
        rng, refs = self.network.rng, sorted(self.manifests)
        ref = rng.choice(refs)
        actions: list[Callable[[SourceRef], None]] = [
            self._reseed,
            self._reapply,
            self._replace,
            self._delete_and_recreate,
            self._spoil,
            self._reseed,
            self._join,
            self._ask_for_refresh,
        ]
        if self.network.parameters.leader_election:
            actions.append(self._copy)
        action = rng.choice(actions)
        self.network.loop.record("user", f"{action.__name__.strip('_')} {ref.name}")
        action(ref)

    def delete_grant(self) -> None:
        cluster, ref = self.network.cluster, self.network.rng.choice(sorted(self.manifests))
        grant = cluster.secrets.get((names.DRIVER_NAMESPACE, ref.grant))
        if grant is not None:
            self.network.loop.record("admin", f"deletes the grant of {ref.name}")
            cluster.delete(grant)

    def _put(self, ref: SourceRef, text: str, *, keep_annotations: bool = True) -> None:
        cluster = self.network.cluster
        current = cluster.secrets.get((ref.namespace, ref.name))
        data = {
            "oauth": Sensitive(text),
            "clientID": Sensitive("my-app"),
            "clientSecret": Sensitive("s3cret"),
        }
        own = {annotations.IS_TOKEN: "true"}
        if current is None:
            cluster.create(Secret(ref.namespace, ref.name, annotations=own, data=data))
        else:
            merged = {**current.annotations, **own} if keep_annotations else own
            cluster.store(replace(current, annotations=merged, data=data))

    def _reseed(self, ref: SourceRef) -> None:
        self.logins += 1
        token = self.network.server.login(f"{ref.name}.{self.logins}")
        self.manifests[ref] = f'{{"refresh_token":"{token}","extra":1.50}}'
        history = self.network.invariants.histories[ref]
        history.user_tokens.add(token)
        history.to_adopt = token
        self._put(ref, self.manifests[ref])

    def _reapply(self, ref: SourceRef) -> None:
        self._put(ref, self.manifests[ref])

    def _replace(self, ref: SourceRef) -> None:
        self._put(ref, self.manifests[ref], keep_annotations=False)

    def _delete_and_recreate(self, ref: SourceRef) -> None:
        cluster, loop = self.network.cluster, self.network.loop
        current = cluster.secrets.get((ref.namespace, ref.name))
        if current is not None:
            cluster.delete(current)
            away = self.network.rng.uniform(0.05, 500.0)
            loop.call_at(loop.now + away, lambda: self._put(ref, self.manifests[ref]))

    def _spoil(self, ref: SourceRef) -> None:
        loop = self.network.loop
        self._put(ref, "no JSON")
        loop.call_at(loop.now + self.network.rng.uniform(0.05, 100.0), lambda: self._reseed(ref))

    def _ask_for_refresh(self, ref: SourceRef) -> None:
        """Set an annotation; a value in ten is no instant."""
        cluster, rng = self.network.cluster, self.network.rng
        current = cluster.secrets.get((ref.namespace, ref.name))
        if current is not None:
            value = "soon" if rng.random() < 0.1 else format_rfc3339(self.network.loop.now)
            notes = {**current.annotations, annotations.REFRESH_REQUESTED_AT: value}
            cluster.store(replace(current, annotations=notes))

    def _join(self, ref: SourceRef) -> None:
        name = f"{ref.name}-next"
        if SourceRef(ref.namespace, name) not in self.manifests and "-next" not in ref.name:
            self.create_secret(name)

    def _copy(self, ref: SourceRef) -> None:
        cluster, network = self.network.cluster, self.network
        current = cluster.secrets.get((ref.namespace, ref.name))
        if (
            current is None
            or refresh_token(current) is None
            or any(other.name.endswith("-copy") for other in self.manifests)
        ):
            return
        copy = SourceRef(ref.namespace, f"{ref.name}-copy")
        cluster.add_token(copy)
        text = current.data["oauth"].reveal()
        history, original = network.invariants.histories[copy], network.invariants.histories[ref]
        history.user_tokens |= original.user_tokens | original.was_live
        history.copied = original.copied = True
        self.manifests[copy] = text
        self._put(copy, text)
