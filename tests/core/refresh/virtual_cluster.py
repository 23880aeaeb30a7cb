"""A small cluster for the refresh protocol: Kubernetes, one authorization server, users, a clock.

It interprets the effects of `core.refresh.effects` in memory and virtual time. No rule of the
protocol is repeated here: the cluster only does what it is asked, fails when told, and keeps score.
"""

import itertools
import json
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import pytest

from csidriver.core import annotations
from csidriver.core import names as core_names
from csidriver.core.companion import Companion
from csidriver.core.kubernetes.change import SecretChange, TokenObject
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import SourceRef
from csidriver.core.oauth.issuers import Issuer, Issuers
from csidriver.core.oauth.token_document import TokenDocument
from csidriver.core.refresh import effects, grant_secret
from csidriver.core.refresh.effects import Duplicate, Effect, SpoolEntry
from csidriver.core.refresh.grant import Grant
from csidriver.core.refresh.reconcile import reconcile
from csidriver.core.refresh.state import Effects, RefreshContext, TokenState, login_grant
from csidriver.core.sensitive import Sensitive
from csidriver.errors import DriverError, StoreRefused
from tests.core.refresh.hooks import Crashed, crash, once
from tests.core.refresh.secret_store import SecretStore
from tests.core.refresh.virtual_server import START, Server

R = TypeVar("R")
REF = SourceRef("physics", "hello-token")
GRANT = (core_names.DRIVER_NAMESPACE, REF.grant)
COMPANION = (core_names.TOKENS_NAMESPACE, REF.companion)
SOURCE = (REF.namespace, REF.name)
KEYS = dict(zip(TokenObject, (SOURCE, GRANT, COMPANION), strict=True))
LIFE = 3600.0
WRITES = (effects.CreateSecret, effects.PatchSecret, effects.DeleteSecret)


def nothing(_: Effect[Any]) -> None:
    """The hook that does not interfere."""


@dataclass
class VirtualCluster(SecretStore):
    """Everything outside of the protocol. `before` and `after` see each effect and may raise."""

    server: Server = field(default_factory=Server)
    now: float = START
    spools: dict[str, dict[SourceRef, SpoolEntry]] = field(default_factory=dict)
    late: dict[SourceRef, SpoolEntry] = field(default_factory=dict)
    immutable: set[SourceRef] = field(default_factory=set)
    may_send: bool = True
    pauses: deque[float] = field(default_factory=deque)
    slots: list[SourceRef] = field(default_factory=list)
    tokens: dict[SourceRef, tuple[float, frozenset[str]]] = field(default_factory=dict)
    offsets: dict[str, float] = field(default_factory=dict)
    before: Callable[[Effect[Any]], None] = nothing
    after: Callable[[Effect[Any]], None] = nothing
    done: list[Effect[Any]] = field(default_factory=list)
    namespace_uids: dict[str, str] = field(default_factory=dict)
    logins: dict[SourceRef, Grant] = field(default_factory=dict)
    derived: dict[SourceRef, set[SourceRef]] = field(default_factory=dict)

    @property
    def spool(self) -> dict[SourceRef, SpoolEntry]:
        """The spool of the first pod."""
        return self.spools.setdefault("pod-1", {})

    def run(self, steps: Effects[R], crash_after: int | None = None, holder: str = "pod-1") -> R:
        """Drive a generator to its end, or until so many effects are done: raises Crashed."""
        spool = self.spools.setdefault(holder, {})
        left = itertools.count(-1 if crash_after is None else crash_after, -1)

        def perform(effect: Effect[Any]) -> Any:
            self.done.append(effect)
            try:
                self.before(effect)
                result = self._do(effect, spool, holder)
                self.after(effect)
            finally:
                if next(left) == 1:
                    steps.close()
                    raise Crashed
            return result

        return effects.drive(steps, perform)

    def _do(  # noqa: C901, PLR0911, PLR0912 - one line per effect
        self, effect: Effect[Any], spool: dict[SourceRef, SpoolEntry], holder: str
    ) -> Any:
        match effect:
            case effects.GetSecret(namespace, name):
                return self.read((namespace, name))
            case effects.GetNamespaceUid(namespace):
                return self.namespace_uids.get(namespace, f"uid-of-{namespace}")
            case effects.CreateSecret(secret):
                return self.create(secret, holder)
            case effects.PatchSecret(base, patch):
                if patch.data and SourceRef(base.namespace, base.name) in self.immutable:
                    raise StoreRefused("field is immutable")
                return self.patch(base, patch, holder)
            case effects.DeleteSecret(base):
                self.delete(base, holder)
            case effects.Now():
                return self.now + self.offsets.get(holder, 0.0)
            case effects.Monotonic():
                return self.now - START
            case effects.Nonce():
                return f"nonce-{len(self.done)}"
            case effects.AcquireSendSlot(_, ref, _):
                return self._grant_slot(ref)
            case effects.ReleaseSendSlot(_, ref):
                self.slots.remove(ref)
            case effects.FindDuplicates(ref, adopted_at, names):
                self.tokens[ref] = (adopted_at, names)
                return self.find_duplicates(ref, names)
            case effects.ReserveGrant(ref, most):
                others = sum(o != ref and o.namespace == ref.namespace for o in self.tokens)
                return ref in self.tokens or others < most
            case effects.Introspect(_, _, token, _):
                return self.server.introspect(token.reveal(), self.now)
            case effects.TakeLateReply(ref):
                return self.late.pop(ref, None)
            case effects.SpoolRead(ref):
                return spool.get(ref)
            case effects.SpoolWrite(ref, entry):
                spool[ref] = entry
            case effects.SpoolClear(ref):
                spool.pop(ref, None)
            case effects.RequestToken(_, _, token):
                self.slots.pop()
                return self.server.present(token.reveal(), self.now)
            case effects.RequestRepeatable(_, client, form):
                self.slots.pop()
                pairs = [(name, value.reveal()) for name, value in form]
                return self.server.issue(client.client_id, pairs, self.now)
            case effects.FindLogin(ref, login):
                self.derived.setdefault(login, set()).add(ref)
                return self.logins.get(login)
            case effects.Probe():
                return self.server.alive
            case effects.EmitEvent():
                return None
            case _:
                raise AssertionError(effect)
        return None

    def _grant_slot(self, ref: SourceRef) -> float:
        pause = self.pauses.popleft() if self.pauses else 0.0
        if pause or not self.may_send:
            return pause or math.inf
        self.slots.append(ref)
        return 0.0

    def find_duplicates(self, ref: SourceRef, names: frozenset[str]) -> tuple[Duplicate, ...]:
        """Which other tokens share a name with this one."""
        return tuple(
            Duplicate(adopted_at, other)
            for other, (adopted_at, theirs) in self.tokens.items()
            if other != ref and names & theirs
        )

    def put(self, keys: dict[str, str], ref: SourceRef = REF, /, **notes: str | None) -> Secret:
        """A user writes a source with annotations such as `grant_type`; None takes one away.

        Annotations that are not named stay.
        """
        current = self.secrets.get((ref.namespace, ref.name))
        if current is None:
            current = self.create(Secret(ref.namespace, ref.name))
        named = {annotations.PREFIX + key.replace("_", "-"): text for key, text in notes.items()}
        merged = {**current.annotations, annotations.IS_TOKEN: "true", **named}
        kept = {key: text for key, text in merged.items() if text is not None}
        data = {key: Sensitive(text) for key, text in keys.items()}
        return self.store(replace(current, annotations=kept, data=data, manager="kubectl"))

    def apply(self, document: str, issuer: str = "", ref: SourceRef = REF, **keys: str) -> Secret:
        """A user applies a manifest with a refresh token."""
        texts = {"clientID": "my-app", "clientSecret": "s3cret", "oauth": document} | keys
        return self.put(texts, ref, **({"issuer": issuer} if issuer else {}))

    def annotate(self, key: str, value: str) -> Secret:
        """A user annotates the Secret."""
        current = self.secrets[REF.namespace, REF.name]
        notes = {**current.annotations, key: value}
        return self.store(replace(current, annotations=notes, manager="kubectl"))

    def source(self, ref: SourceRef = REF) -> Secret:
        return self.secrets[ref.namespace, ref.name]

    def note(self, key: str, ref: SourceRef = REF) -> str:
        return self.source(ref).annotations.get(key, "")

    def status(self, ref: SourceRef = REF) -> str:
        return self.note(annotations.STATUS, ref)

    def shown(self) -> str:
        """The status that users and nodes see alike."""
        assert self.companion().status.value == self.status()
        return self.status()

    def warning(self) -> str:
        return self.note(annotations.WARNING)

    def message(self, ref: SourceRef = REF) -> str:
        return self.note(annotations.MESSAGE, ref)

    def mirrored(self) -> str:
        """The refresh token in the source."""
        token = TokenDocument.parse(self.source().data["oauth"])[0].refresh_token
        return "" if token is None else token.reveal()

    def grant(self, ref: SourceRef = REF) -> Grant:
        return grant_secret.from_secret(self.secrets[core_names.DRIVER_NAMESPACE, ref.grant])

    def live(self) -> str:
        """The refresh token in the grant."""
        token = self.grant().document.refresh_token
        return "" if token is None else token.reveal()

    def companion(self, ref: SourceRef = REF) -> Companion:
        secret = self.secrets[core_names.TOKENS_NAMESPACE, ref.companion]
        return Companion.from_secret(secret)

    def reasons(self) -> list[str]:
        """The reasons of all Events."""
        return [e.reason for e in self.done if isinstance(e, effects.EmitEvent)]

    def presented_twice(self) -> list[str]:
        """Tokens that were presented after the server had answered for them."""
        tokens = self.server.tokens()
        return [t for t in set(tokens) if tokens.count(t) > 1 and t in self.server.answered]

    def count(self, *kinds: type[Effect[Any]]) -> int:
        return sum(isinstance(e, kinds) for e in self.done)

    def cost(self, act: Callable[[], object]) -> tuple[int, int]:
        """Reads and writes of the backend that something takes."""
        reads, writes = self.count(effects.GetSecret), self.count(*WRITES)
        act()
        return self.count(effects.GetSecret) - reads, self.count(*WRITES) - writes

    def fail_next(
        self, kind: type[Effect[Any]], error: DriverError, *, times: int = 1, on: str = ""
    ) -> None:
        """The next effects of a kind, on an object whose name begins so, fail."""
        left = times

        def before(effect: Effect[Any]) -> None:
            nonlocal left
            name = effect.base.name if isinstance(effect, effects.PatchSecret) else ""
            if left > 0 and isinstance(effect, kind) and name.startswith(on):
                left -= 1
                raise error

        self.before = before


def document(token: str, **more: Any) -> str:
    return json.dumps({"access_token": "opaque", "refresh_token": token, "extra": 1.5} | more)


ISSUER = Issuer("cern", issuer="https://auth.example", default=True)


@dataclass
class Process:
    """One refresher process. It keeps its state and follows its schedule; it may crash."""

    cluster: VirtualCluster
    holder: str = "pod-1"
    issuer: Issuer = ISSUER
    ref: SourceRef = REF
    namespaces: tuple[str, ...] = ()
    tokens_per_namespace: int = 1000
    state: TokenState = field(init=False)

    def __post_init__(self) -> None:
        self.state = TokenState(self.ref)

    def reconcile(self, crash_after: int | None = None, *, event: bool = False) -> TokenState:
        """Reconcile once, after an event on the source if so; fail like the controller."""
        issuers = Issuers({self.issuer.name: self.issuer})
        context = RefreshContext(
            issuers,
            self.holder,
            namespaces=self.namespaces,
            tokens_per_namespace=self.tokens_per_namespace,
        )
        state = replace(self.state, source_stale=True) if event else self.state
        try:
            self.state = self.cluster.run(reconcile(state, context), crash_after, self.holder)
        except DriverError:
            self.state = replace(state, source_stale=True, grant_stale=True)
            raise
        self.cluster.logins.pop(self.ref, None)
        if (login := login_grant(self.state)) is not None:
            self.cluster.logins[self.ref] = login
        if self.state.grant is None:
            self.cluster.tokens.pop(self.ref, None)
        else:
            self.cluster.tokens[self.ref] = (
                self.state.grant.adopted_at,
                frozenset() if self.state.grant_withheld else self.state.grant.token_hashes,
            )
        return self.state

    def restarted(self) -> "Process":
        """Return a new process in the place of this one, which has listed all Secrets."""
        fresh = replace(self, namespaces=(), tokens_per_namespace=1000)
        fresh.restart()
        return fresh

    def restarted_for(self, seconds: float) -> "Process":
        """Return a new process that has looked after the token for so long."""
        fresh = self.restarted()
        fresh.reconcile()
        fresh.run_for(seconds)
        return fresh

    def edit(self, text: str, **keys: str) -> None:
        """Reconcile what a user applies."""
        self.cluster.apply(text, ref=self.ref, **keys)
        self.reconcile(event=True)

    def login_as(self, name: str) -> None:
        """Reconcile a new login."""
        self.edit(document(self.cluster.server.login(name)))

    def delete(self) -> None:
        """Reconcile that a user deletes the source."""
        del self.cluster.secrets[self.ref.namespace, self.ref.name]
        self.reconcile(event=True)

    def meddle(self, what: TokenObject, **changes: Any) -> None:
        """Reconcile what somebody did to one of the token's Secrets: changed or deleted it."""
        secret = self.cluster.secrets.pop(KEYS[what])
        if changes:
            self.cluster.store(replace(secret, **changes))
        self.observe(what)
        self.reconcile()

    def peer(self, seconds: float = 0.0) -> "Process":
        """Return another replica, which has looked after the token for so long."""
        return Process(self.cluster, holder="pod-2", issuer=self.issuer).restarted_for(seconds)

    def die_after(self, when: Callable[[Effect[Any]], bool]) -> None:
        """End at the next refresh, right after such an effect."""
        self.cluster.after = once(when, crash)
        self._die()

    def die_before(self, when: Callable[[Effect[Any]], bool]) -> None:
        """End at the next refresh, when such an effect is due."""
        self.cluster.before = once(when, crash)
        self._die()

    def _die(self) -> None:
        self.cluster.now = max(self.cluster.now, self.state.next_reconcile or 0.0)
        with pytest.raises(Crashed):
            self.reconcile()

    def restart(self) -> TokenState:
        """Become a new process that has listed all Secrets and reconciled none."""
        cluster, ref = self.cluster, self.ref
        grant = cluster.read((core_names.DRIVER_NAMESPACE, ref.grant))
        companion = cluster.read((core_names.TOKENS_NAMESPACE, ref.companion))
        source = cluster.secrets.get((ref.namespace, ref.name))
        change = None if source is None else self.change_of(TokenObject.SOURCE)
        self.state = TokenState(ref)
        if grant is not None:
            read_at = cluster.now - START
            self.state = TokenState.from_lists(ref, grant, companion, change, read_at=read_at)
        return self.state

    def observe(self, what: TokenObject = TokenObject.SOURCE) -> TokenState:
        """Receive a watch event of one of the token's Secrets; do not reconcile."""
        self.state = self.state.with_change(self.change_of(what))
        return self.state

    def change_of(self, what: TokenObject) -> SecretChange:
        key = (self.ref.namespace, self.ref.name) if what is TokenObject.SOURCE else KEYS[what]
        secret = self.cluster.secrets.get(key)
        if secret is None:
            return SecretChange(self.ref, what, "")
        by_us = secret.manager == core_names.FIELD_MANAGER
        return SecretChange(self.ref, what, secret.resource_version, by_us, secret.uid)

    @property
    def clock(self) -> float:
        """The time by the clock of this process."""
        return self.cluster.now + self.cluster.offsets.get(self.holder, 0.0)

    def run_for(self, seconds: float) -> None:
        """Follow the schedule for so long; more than 1000 reconciliations are a hot loop."""
        until = self.clock + seconds
        for _ in range(1000):
            following = self.state.next_reconcile
            if following is None or following > until:
                self.cluster.now += max(0.0, until - self.clock)
                return
            self.cluster.now += max(0.0, following - self.clock)
            self.reconcile()
        raise AssertionError("hot loop")


def run_together(
    seconds: float, *processes: Process, reconcile: Callable[[Process], object] = Process.reconcile
) -> None:
    """Let several tokens follow their schedules side by side."""
    cluster = processes[0].cluster
    until = cluster.now + seconds
    for _ in range(2000):
        due = min(processes, key=lambda process: process.state.next_reconcile or math.inf)
        at = due.state.next_reconcile or math.inf
        if at > until:
            cluster.now = until
            return
        cluster.now = max(cluster.now, at)
        reconcile(due)
    raise AssertionError("hot loop")
