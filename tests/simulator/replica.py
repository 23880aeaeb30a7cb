"""One refresher: it holds the Lease or not, visits what is due, crashes, freezes and comes back.

The queue, the register, the limiter and the index of names are the production's own; its threads
are not: any number of visits of both replicas interleave, at the granularity of effects.
"""

import threading
from collections.abc import Callable, Generator, Iterable
from dataclasses import replace
from itertools import count

from csidriver.core.backoff import backoff, stable_jitter
from csidriver.core.kubernetes.change import SecretChange
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import SourceRef
from csidriver.core.oauth.issuers import Issuers
from csidriver.core.refresh.effects import SpoolEntry
from csidriver.core.refresh.state import RefreshContext, TokenState
from csidriver.refresher.duplicate_index import DuplicateIndex
from csidriver.refresher.rate_limiter import RateLimiter
from csidriver.refresher.resync import Snapshot, initial_states, resync
from csidriver.refresher.state_cache import StateCache
from csidriver.refresher.workqueue import WorkQueue
from tests.simulator.lease import Seat
from tests.simulator.network import Network
from tests.simulator.plan import SWEEP_EVERY
from tests.simulator.run import Run


class Replica:
    """A pod. Its spool survives the container; `life` counts containers."""

    def __init__(self, network: Network, holder: str, offset: float, seat: Seat) -> None:
        self.network, self.kernel, self.cluster = network, network.kernel, network.cluster
        self.holder, self.offset, self.seat = holder, offset, seat
        self.rules = RefreshContext(Issuers({"cern": network.plan.issuer}), holder)
        self.spool: dict[SourceRef, SpoolEntry] = {}
        self.life, self.pods = 0, 0
        self.booted_at = self.frozen_until = 0.0
        self.up = self.working = False
        self.nonces = count()
        self.cluster.watchers.append(self._hear)
        self.runs: dict[SourceRef, Run] = {}

    def now(self) -> float:
        return self.kernel.now + self.offset

    def monotonic(self) -> float:
        return self.kernel.now - self.booted_at

    def list_secrets(self, namespace: str, type: str) -> Iterable[Secret]:  # noqa: A002 - as in production
        found = [key for key, s in self.cluster.secrets.items() if key[0] == namespace]
        read = (self.cluster.read(key) for key in found)
        return [s for s in read if s is not None and s.type == type]

    def boot(self) -> None:
        """A new container."""
        self.life += 1
        self.up, self.working, self.booted_at = True, False, self.kernel.now
        self.limiter, self.names = RateLimiter(self.monotonic), DuplicateIndex()
        self.kernel.note(self.holder, f"boots, container {self.life}")
        self._tick()

    def die(self, *, pod: bool, back_after: float) -> None:
        """The process ends here and now; requests that are under way go on without it."""
        self.kernel.note(self.holder, "dies, with its pod" if pod else "dies, spool kept")
        self.network.invariants.died(self, pod=pod)
        self.up = self.working = False
        self.life += 1
        self.runs = {}
        if pod:
            self.spool = {}
            self.pods += 1
            prefix = self.holder.split(".")[0]
            self.holder = f"{prefix}.{self.pods}"
            self.rules = replace(self.rules, holder=self.holder)
        self.kernel.at(self.kernel.now + back_after, self.boot)

    def freeze(self, seconds: float) -> None:
        """Nothing happens in this process for so long; it does not notice."""
        self.kernel.note(self.holder, f"is frozen for {seconds:.1f} s")
        self.network.invariants.frozen(self)
        self.frozen_until = self.kernel.now + seconds

    def later(self, delay: float, act: Callable[[], None]) -> None:
        """Have this process do something, if it then still lives and once it is not frozen."""
        life = self.life

        def attempt() -> None:
            if life != self.life or not self.up:
                return
            if self.kernel.now < self.frozen_until:
                self.kernel.at(self.frozen_until, attempt)
            else:
                act()

        self.kernel.at(self.kernel.now + delay, attempt)

    def may_send(self) -> bool:
        return self.working and (not self.network.plan.leased or self.seat.holds(self))

    def _tick(self) -> None:
        """Look at the Lease."""
        may = not self.network.plan.leased or self.seat.tend(self)
        if may and not self.working and not self.runs:
            self._start()
        if not may:
            self.working = False
        self.later(5.0, self._tick)

    def _start(self) -> None:
        self.kernel.note(self.holder, "starts to work")
        self.working = True
        self.register, self.failures = StateCache(), dict[SourceRef, int]()
        self.queue: WorkQueue[SourceRef] = WorkQueue(self.now, 32)
        census = Snapshot.read(iter([*self.cluster.changes(), None]))
        assert census is not None
        for known in initial_states(census, self, self.rules, self):
            self.register.restore(known)
            self._follow(known)
            due = None if known.grant is None else known.grant.next_refresh
            self.queue.add_at(known.ref, min(self.now(), due or self.now()))
        self._pump()
        self.later(SWEEP_EVERY, self._sweep)

    def _sweep(self) -> None:
        if self.working:
            for change in resync(self, self.register.versions, threading.Event()):
                self._told(change)
            for ref in self.register.refs():
                self.put(ref, self.now())
            self.later(SWEEP_EVERY, self._sweep)

    def watch_changes(self, _: threading.Event) -> Generator[SecretChange | None, None, None]:
        """A list; what comes after it is received."""
        yield from [*self.cluster.changes(), None]

    def _hear(self, change: SecretChange) -> None:
        if self.network.hits(self.network.plan.deaf):
            return
        self.later(self.network.rng.uniform(0.01, 0.2), lambda: self._told(change))

    def _told(self, change: SecretChange) -> None:
        if self.working and self.register.apply_change(change):
            self.put(change.ref, self.now())

    def put(self, ref: SourceRef, at: float) -> None:
        """Visit a token at an instant of this process's clock."""
        self.queue.add_at(ref, at)
        self.later(max(0.0, at - self.now()) + 1e-5, self._pump)

    def _pump(self) -> None:
        while self.working:
            ref, _ = self.queue._pop()
            if ref is None:
                return
            self.runs[ref] = Run(self, ref, self.register.checkout(ref))
            self.runs[ref].go()

    def finished(self, ref: SourceRef, before: TokenState, known: TokenState | None) -> None:
        """A visit is over; None if it failed."""
        del self.runs[ref]
        self.queue.done(ref)
        if known is None:
            failures = self.failures[ref] = self.failures.get(ref, 0) + 1
            again: float | None = self.now() + backoff(
                failures, stable_jitter(ref.id, failures), 30.0
            )
            self._keep(replace(before, source_stale=True, grant_stale=True))
        else:
            self.failures.pop(ref, None)
            again = self.now() if self._keep(known) else known.next_reconcile
        if again is not None and self.working:
            self.put(ref, again)
        elif self.working:
            self.later(0.0, self._pump)

    def _keep(self, known: TokenState) -> bool:
        self._follow(known)
        return self.register.store(known)

    def _follow(self, known: TokenState) -> None:
        if known.grant is None:
            self.names.remove(known.ref)
        else:
            self.names.update(known.ref, known.grant.adopted_at, known.grant.token_hashes)
