"""A reconciliation under way: each effect is performed in virtual time, or not at all."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from csidriver.core.names import SourceRef
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.token_response import Failure, TokenResponse
from csidriver.core.refresh import effects, reconcile
from csidriver.core.refresh.effects import Effect
from csidriver.core.refresh.state import TokenState
from csidriver.errors import DriverError, SpoolFailed

if TYPE_CHECKING:
    from tests.simulator.replica import Replica

_STORE = (effects.GetSecret, effects.CreateSecret, effects.PatchSecret, effects.DeleteSecret)


class Reconciliation:
    """A reconciliation of one token by one replica."""

    def __init__(self, replica: "Replica", ref: SourceRef, before: TokenState) -> None:
        self.replica, self.ref, self.before = replica, ref, before
        self.network = replica.network
        self.steps = reconcile.reconcile(before, replica.context)
        self.slot: effects.AcquireSendSlot | None = None
        self.client_refused = False
        self.yielded = False

    def resume(self, result: Any = None, error: DriverError | None = None) -> None:
        """Resume the generator and perform the effects that it yields."""
        while True:
            try:
                effect = self.steps.send(result) if error is None else self.steps.throw(error)
            except StopIteration as end:
                self._finish(end.value)
                return
            except DriverError as failure:
                self.replica.loop.record(self.replica.holder, f"{self.ref.name}: {failure}")
                self._finish(None)
                return
            if self._inject_fault():
                return
            if self.replica.loop.now < self.replica.frozen_until or _takes_time(effect):
                self._schedule(effect)
                return
            try:
                result, error = self._perform_at_once(effect), None
            except DriverError as failure:
                result, error = None, failure

    def _schedule(self, effect: Effect[Any]) -> None:
        delay = self.network.rng.uniform(0.002, 0.02)
        self.replica.call_later(delay, lambda: self._perform(effect))

    def _inject_fault(self) -> bool:
        """Return True if the process has just died; it may also freeze now."""
        network, parameters = self.network, self.network.parameters
        if network.fault_strikes(parameters.crash):
            pod = network.rng.random() < 0.4
            self.replica.die(pod=pod, back_after=network.rng.uniform(1.0, 8.0))
            return True
        if network.fault_strikes(parameters.freeze):
            self.replica.freeze(network.rng.uniform(0.1, 150.0))
        return False

    def _finish(self, state: TokenState | None) -> None:
        if self.slot is not None:
            self.replica.limiter.release(self.slot.issuer, self.slot.client)
        self.network.invariants.on_reconciled(self.replica, self.ref)
        self.replica.finished(self.ref, self.before, state)

    def _perform(self, effect: Effect[Any]) -> None:
        """Perform an effect that takes time; its result arrives a little later."""
        if isinstance(effect, _STORE):
            try:
                writes = not isinstance(effect, effects.GetSecret)
                found = self.network.call_store(lambda: self._call_cluster(effect), writes=writes)
            except DriverError as failure:
                error = failure
                self.replica.call_later(self._round_trip(), lambda: self.resume(error=error))
            else:
                self.replica.call_later(self._round_trip(), lambda: self.resume(found))
        elif isinstance(effect, effects.RequestToken):
            self._send(effect)
        elif isinstance(effect, effects.Introspect):
            token = effect.refresh_token.reveal()
            active = self.network.server.introspect(token) if self.network.reachable() else None
            self.network.invariants.on_introspection(token, active=active)
            self.replica.call_later(0.1, lambda: self.resume(active))
        elif isinstance(effect, effects.Wait):
            self.replica.call_later(effect.seconds, self.resume)
        else:
            try:
                result = self._perform_at_once(effect)
            except DriverError as failure:
                self.resume(error=failure)
            else:
                self.resume(result)

    def _round_trip(self) -> float:
        return self.network.rng.uniform(0.002, 0.02)

    def _call_cluster(self, effect: Effect[Any]) -> Any:
        cluster, holder = self.network.cluster, self.replica.holder
        match effect:
            case effects.GetSecret(namespace, name):
                return cluster.read((namespace, name))
            case effects.CreateSecret(secret):
                return cluster.create(secret, holder)
            case effects.PatchSecret(base, patch):
                return cluster.patch(base, patch, holder)
            case effects.DeleteSecret(base):
                cluster.delete(base, holder)
        return None

    def _send(self, effect: effects.RequestToken) -> None:
        if self.client_refused:
            self.client_refused = False
            self.resume(Failure(FailureReason.INVALID_CLIENT))
            return
        self.network.invariants.on_send(self.replica, self.ref, effect)
        container = self.replica.container

        def reply(outcome: TokenResponse, after: float) -> None:
            if container == self.replica.container:
                self.replica.call_later(after, lambda: self._replied(effect, outcome))

        self.network.send(effect, reply)

    def _replied(self, effect: effects.RequestToken, outcome: TokenResponse) -> None:
        self.network.invariants.on_reply(self.replica, self.ref, effect, outcome)
        if self.slot is not None:
            slot, self.slot = self.slot, None
            self.replica.limiter.record_outcome(slot.issuer, slot.ref, slot.client, outcome)
        self.resume(outcome)

    def _perform_at_once(self, effect: Effect[Any]) -> Any:
        replica, spool = self.replica, self.replica.spool
        handlers: dict[type[Any], Callable[[Any], Any]] = {
            effects.Now: lambda _: replica.now(),
            effects.Monotonic: lambda _: replica.monotonic(),
            effects.Nonce: lambda _: f"{replica.holder}-{next(replica.nonces)}",
            effects.SpoolRead: lambda e: spool.get(e.ref),
            effects.SpoolWrite: self._spool,
            effects.SpoolClear: self._spool,
            effects.AcquireSendSlot: self._acquire_send_slot,
            effects.ReleaseSendSlot: self._release_send_slot,
            effects.FindDuplicates: lambda e: replica.duplicates.find_and_update(
                e.ref, e.adopted_at, e.token_hashes
            ),
        }
        if isinstance(effect, effects.YieldWorker) and not self.yielded:
            self.yielded = True
            replica.queue.yield_worker(self.ref)
        handle = handlers.get(type(effect))
        return None if handle is None else handle(effect)

    def _spool(self, effect: effects.SpoolWrite | effects.SpoolClear) -> None:
        if self.network.fault_strikes(self.network.parameters.spool_fails):
            raise SpoolFailed("no space left")
        if isinstance(effect, effects.SpoolWrite):
            self.replica.spool[effect.ref] = effect.entry
        else:
            self.replica.spool.pop(effect.ref, None)

    def _acquire_send_slot(self, effect: effects.AcquireSendSlot) -> float:
        if not self.replica.may_send():
            return math.inf
        limiter = self.replica.limiter
        decision = limiter.acquire(effect.issuer, effect.ref, effect.client)
        if decision.probe:
            limiter.record_probe(effect.issuer, alive=self.network.reachable())
            decision = limiter.acquire(effect.issuer, effect.ref, effect.client)
        self.client_refused = decision.client_refused
        if decision.probe:
            return 1.0
        if not decision.wait and not decision.client_refused:
            self.slot = effect
        return decision.wait

    def _release_send_slot(self, _: effects.ReleaseSendSlot) -> None:
        self.client_refused = False
        if self.slot is not None:
            self.replica.limiter.release(self.slot.issuer, self.slot.client)
            self.slot = None


def _takes_time(effect: Effect[Any]) -> bool:
    return isinstance(effect, (*_STORE, effects.RequestToken, effects.Introspect, effects.Wait))
