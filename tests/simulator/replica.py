"""A refresher that takes part in the election, reconciles tokens, crashes, freezes and restarts.

Queue, cache, limiter and index of duplicates are the production's own. Its threads are not: any
number of reconciliations of both replicas interleave, effect by effect.
"""

import math
import threading
from collections.abc import Callable, Generator, Iterable
from dataclasses import replace
from itertools import count

from csidriver.config import LeaseTimings
from csidriver.core.kubernetes.change import SecretChange
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import SourceRef
from csidriver.core.oauth.issuers import Issuers
from csidriver.core.oauth.token_document import TokenDocument
from csidriver.core.refresh import effects
from csidriver.core.refresh.effects import SpoolEntry
from csidriver.core.refresh.state import RefreshContext, TokenState
from csidriver.refresher.controller import MAX_BACKOFF, MAX_COMMIT_BACKOFF, retry_at
from csidriver.refresher.duplicate_index import DuplicateIndex
from csidriver.refresher.leader_election import LeaseLock
from csidriver.refresher.rate_limiter import RateLimiter
from csidriver.refresher.resync import Snapshot, initial_states, resync
from csidriver.refresher.state_cache import StateCache
from csidriver.refresher.workqueue import WorkQueue
from tests.simulator.lease import StoredLease
from tests.simulator.network import Network
from tests.simulator.parameters import RESYNC_SECONDS
from tests.simulator.reconciliation import Reconciliation

LEASE = LeaseTimings(15.0, 5.0)


class Timer:
    is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class Replica:
    """A pod. Its spool survives the container; `container` counts the containers."""

    holder: str
    nonces: "count[int]"
    cache: StateCache
    duplicates: DuplicateIndex

    def __init__(self, network: Network, holder: str, offset: float, lease: StoredLease) -> None:
        self.network, self.loop, self.cluster = network, network.loop, network.cluster
        self.holder, self.offset, self._lease = holder, offset, lease
        self.context = RefreshContext(Issuers({"cern": network.parameters.issuer}), holder)
        self.spool: dict[SourceRef, SpoolEntry] = {}
        # Replies that the spool could not take, or that came late; they die with the process.
        self.kept: dict[SourceRef, SpoolEntry] = {}
        self.late: dict[SourceRef, SpoolEntry] = {}
        self.container, self.pods = 0, 0
        self.booted_at = self.frozen_until = self.working_since = 0.0
        self.up = self.working = False
        self._wake = Timer()
        self.nonces = count()
        self.cluster.change_callbacks.append(self._receive_event)
        self.network.readiness.replicas.append(self)
        self.network.invariants.grant_checks.replicas.append(self)
        self.reconciliations: dict[SourceRef, Reconciliation] = {}
        # Tokens with a reply that is not stored, and those with changes that no event reported.
        self.unstored, self.uninformed = set[SourceRef](), set[SourceRef]()

    @property
    def is_frozen(self) -> bool:
        return self.loop.now < self.frozen_until

    def now(self) -> float:
        return self.loop.now + self.offset

    def monotonic(self) -> float:
        return self.loop.now - self.booted_at

    def list_secrets(self, namespace: str, type: str) -> Iterable[Secret]:  # noqa: A002 - as in production
        found = [key for key, s in self.cluster.secrets.items() if key[0] == namespace]
        read = (self.cluster.read(key) for key in found)
        return [s for s in read if s is not None and s.type == type]

    def boot(self) -> None:
        self.container += 1
        self.up, self.working, self.booted_at = True, False, self.loop.now
        self.limiter, self.duplicates = RateLimiter(self.monotonic), DuplicateIndex()
        self._lock, self._renewed_at = LeaseLock(self._lease, self.holder, LEASE, self), -math.inf
        self.loop.record(self.holder, f"boots, container {self.container}")
        self._elect()

    def die(self, *, pod: bool, back_after: float) -> None:
        """End the process at once; its requests under way go on without it."""
        self.loop.record(self.holder, "dies, with its pod" if pod else "dies, spool kept")
        self.network.invariants.on_death(self, pod=pod)
        self.up = self.working = False
        self.container += 1
        self.reconciliations, self.kept, self.late = {}, {}, {}
        if pod:
            self.spool = {}
            self.pods += 1
            prefix = self.holder.split(".")[0]
            self.holder = f"{prefix}.{self.pods}"
            self.context = replace(self.context, holder=self.holder)
        self.loop.call_at(self.loop.now + back_after, self.boot)

    def freeze(self, seconds: float) -> None:
        """Stop the process for so long, without its knowledge."""
        self.loop.record(self.holder, f"is frozen for {seconds:.1f} s")
        self.frozen_until = self.loop.now + max(0.0, seconds)
        self.network.invariants.on_freeze(self)

    def call_later(self, delay: float, callback: Callable[[], None]) -> "Timer":
        """Call back later, if the process then still lives, and once it is not frozen."""
        container, timer = self.container, Timer()

        def attempt() -> None:
            if container != self.container or not self.up or timer.is_cancelled:
                return
            if self.loop.now < self.frozen_until:
                self.loop.call_at(self.frozen_until, attempt)
            else:
                callback()

        self.loop.call_at(self.loop.now + delay, attempt)
        return timer

    def keep_late_reply(
        self, effect: effects.RequestToken, reply: TokenDocument, sent_at: float
    ) -> None:
        """Keep a reply that came after its time, as `LateReplies` does."""
        self.loop.record(self.holder, f"{effect.ref.name}: a late reply")
        token_hash = effect.refresh_token.hash()
        self.late[effect.ref] = SpoolEntry(effect.nonce, sent_at, reply, token_hash)
        if self.working:
            self.requeue(effect.ref, self.now())

    def may_send(self) -> bool:
        leads = self.monotonic() < self._renewed_at + LEASE.renew_deadline
        return self.working and (not self.network.parameters.leader_election or leads)

    def _elect(self) -> None:
        leader = not self.network.parameters.leader_election or self._lock.acquire()
        self._renewed_at = self.monotonic() if leader else -math.inf
        if leader and not self.working and not self.reconciliations:
            self._start_work()
        if not leader:
            self.working = False
            self._recover_spool()
        self.call_later(LEASE.renew, self._elect)

    def _recover_spool(self) -> None:
        for ref in [
            ref
            for ref in {**self.spool, **self.kept, **self.late}
            if ref not in self.reconciliations
        ]:
            if not self.up:
                return  # one of them has killed the process
            self.reconciliations[ref] = Reconciliation(self, ref, None)
            self.reconciliations[ref].resume()

    def _start_work(self) -> None:
        self.loop.record(self.holder, "starts to work")
        self.working, self.working_since = True, self.loop.now
        self.unstored, self.uninformed = set(), set()
        self.cache = StateCache(lambda ref: self.requeue(ref, self.now()))
        self.failures = dict[SourceRef, int]()
        self.queue: WorkQueue[SourceRef] = WorkQueue(
            self.now,
            32,
            namespace=lambda ref: ref.namespace,
            next_turn=lambda _: self.limiter.next_turn(self.network.parameters.issuer.name),
        )
        snapshot = Snapshot.read(iter([*self.cluster.changes(), None]))
        assert snapshot is not None
        for state in initial_states(snapshot, self, self.context, self):
            self.cache.restore(state)
            self.duplicates.track(state)
            due = None if state.grant is None else state.grant.next_refresh
            self.queue.add_at(state.ref, min(self.now(), due or self.now()))
        self.network.readiness.on_informed(self)
        self._start_due()
        self.call_later(RESYNC_SECONDS, self._resync)

    def _resync(self) -> None:
        if self.working:
            for change in resync(self, self.cache.versions, threading.Event()):
                self._apply_change(change)
            for ref in self.cache.refs():
                self.requeue(ref, self.now())
            self.uninformed.clear()
            self.network.readiness.on_informed(self)
            self.call_later(RESYNC_SECONDS, self._resync)

    def watch_changes(
        self, _: threading.Event, _find_own: object = None
    ) -> Generator[SecretChange | None, None, None]:
        """Yield a list only; events arrive through `_receive_event`."""
        yield from [*self.cluster.changes(), None]

    def _receive_event(self, change: SecretChange) -> None:
        if self.network.fault_strikes(self.network.parameters.lost_event):
            self.uninformed.add(change.ref)
            return
        self.call_later(self.network.rng.uniform(0.01, 0.2), lambda: self._apply_change(change))

    def _apply_change(self, change: SecretChange) -> None:
        if self.working and self.cache.apply_change(change):
            self.requeue(change.ref, self.now())

    def requeue(self, ref: SourceRef, at: float) -> None:
        self.queue.add_at(ref, at)
        self.call_later(max(0.0, at - self.now()) + 1e-5, self._start_due)

    def _start_due(self) -> None:
        while self.working:
            ref, pause = self.queue._pop()
            if ref is None:
                self._wake.cancel()
                if pause < math.inf:
                    self._wake = self.call_later(pause + 1e-5, self._start_due)
                return
            self.reconciliations[ref] = Reconciliation(self, ref, self.cache.checkout(ref))
            self.reconciliations[ref].resume()

    def finished(self, ref: SourceRef, before: TokenState | None, state: TokenState | None) -> None:
        """Store the result of a reconciliation; None if it failed."""
        has_tokens = self.reconciliations.pop(ref).has_tokens
        if before is None:
            return
        if has_tokens:
            self.unstored.add(ref)
        self.queue.done(ref)
        if state is None:
            failures = self.failures[ref] = self.failures.get(ref, 0) + 1
            cap = MAX_COMMIT_BACKOFF if ref in self.unstored else MAX_BACKOFF
            requeue_at: float | None = retry_at(before, failures, cap, self.now())
            self._store(replace(before, source_stale=True, grant_stale=True))
        else:
            self.failures.pop(ref, None)
            self.unstored.discard(ref)
            requeue_at = self.now() if self._store(state) else state.next_reconcile
        if not self.working:
            return
        if requeue_at is not None:
            self.requeue(ref, requeue_at)
        # Its worker is free for others.
        self.call_later(0.0, self._start_due)

    def _store(self, state: TokenState) -> bool:
        self.duplicates.track(state)
        changed = self.cache.store(state)
        self.network.readiness.on_cached(self, state.ref)
        return changed
