"""A reconciliation under way: each effect is performed in virtual time, or not at all."""

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from csidriver.core.names import SourceRef
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.token_response import Failure, Success, TokenResponse
from csidriver.core.refresh import effects, reconcile
from csidriver.core.refresh.effects import Effect
from csidriver.core.refresh.state import Effects, TokenState
from csidriver.errors import DriverError, SpoolFailed
from csidriver.refresher.issuer_limits import SlotDecision
from tests.simulator.network import Request

if TYPE_CHECKING:
    from tests.simulator.replica import Replica

_READS = (effects.GetSecret, effects.GetNamespaceUid)
_STORE = (*_READS, effects.CreateSecret, effects.PatchSecret, effects.DeleteSecret)
_REQUESTS = (effects.RequestToken, effects.RequestRepeatable)
_SERVER = (effects.AcquireSendSlot, *_REQUESTS, effects.Introspect, effects.Probe)
_TAKE_TIME = (*_STORE, *_SERVER)
# Of an introspection, and of a probe.
_ANSWER_SECONDS = 0.1


class Reconciliation:
    """A reconciliation of one token by one replica; without `before`, only of its spool entry."""

    def __init__(self, replica: "Replica", ref: SourceRef, before: TokenState | None) -> None:
        self.replica, self.ref, self.before = replica, ref, before
        self.network = replica.network
        self.steps: Effects[TokenState | None] = (
            reconcile.recover_spooled(ref.grant, replica.context)
            if before is None
            else reconcile.reconcile(before, replica.context)
        )
        self.slot: effects.AcquireSendSlot | None = None
        self.client_refused = False
        self.has_tokens = False

    def resume(self, result: Any = None, error: DriverError | None = None) -> None:
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
            if self.replica.is_frozen or isinstance(effect, _TAKE_TIME):
                self._schedule(effect)
                return
            try:
                result, error = self._perform_at_once(effect), None
            except DriverError as failure:
                result, error = None, failure

    def _schedule(self, effect: Effect[Any]) -> None:
        if isinstance(effect, effects.AcquireSendSlot) and not self.replica.is_frozen:
            self._acquire_send_slot(effect)
            return
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
            self.replica.limiter.release(self.slot.issuer, self.slot.ref, self.slot.client)
        self.network.invariants.on_reconciled(self.replica, self.ref)
        self.replica.finished(self.ref, self.before, state)

    def _perform(self, effect: Effect[Any]) -> None:
        """Perform an effect that takes time; its result arrives a little later."""
        if isinstance(effect, _STORE):
            try:
                writes = not isinstance(effect, _READS)
                found = self.network.call_store(lambda: self._call_cluster(effect), writes=writes)
            except DriverError as failure:
                error = failure
                self.replica.call_later(self._round_trip(), lambda: self._store_failed(error))
            else:
                self.replica.call_later(self._round_trip(), lambda: self.resume(found))
        elif isinstance(effect, Request):
            self._request(effect)
        elif isinstance(effect, effects.Introspect):
            self._introspect(effect)
        elif isinstance(effect, effects.Probe):
            self._probe(self.resume)
        elif isinstance(effect, effects.AcquireSendSlot):
            self._acquire_send_slot(effect)
        else:
            try:
                result = self._perform_at_once(effect)
            except DriverError as failure:
                self.resume(error=failure)
            else:
                self.resume(result)

    def _store_failed(self, error: DriverError) -> None:
        self.network.readiness.on_store_failure(self.replica, self.ref)
        self.network.invariants.grant_checks.hinder(self.ref)
        self.resume(error=error)

    def _round_trip(self) -> float:
        return self.network.rng.uniform(0.002, 0.02)

    def _call_cluster(self, effect: Effect[Any]) -> Any:
        cluster, holder = self.network.cluster, self.replica.holder
        match effect:
            case effects.GetSecret(namespace, name):
                return cluster.read((namespace, name))
            case effects.GetNamespaceUid(namespace):
                return f"uid-of-{namespace}"
            case effects.CreateSecret(secret):
                return cluster.create(secret, holder)
            case effects.PatchSecret(base, patch):
                return cluster.patch(base, patch, holder)
            case effects.DeleteSecret(base):
                cluster.delete(base, holder)
        return None

    def _request(self, effect: Request) -> None:
        if self.client_refused:
            self.client_refused = False
            self.resume(Failure(FailureReason.INVALID_CLIENT))
            return
        replica, container = self.replica, self.replica.container
        login = effect if isinstance(effect, effects.RequestToken) else None
        self.network.invariants.on_request(replica, effect)
        sent_at, is_late = replica.now(), False

        def give_up() -> None:
            nonlocal is_late
            is_late = True
            awaited = 0.0 if login is None else login.late_timeout - login.timeout
            self._replied(effect, Failure(FailureReason.NO_ANSWER, awaited=awaited))

        timer = replica.call_later(effect.timeout, give_up)

        def receive(outcome: TokenResponse) -> None:
            timer.cancel()
            if not is_late:
                self._replied(effect, outcome)
                return
            in_time = login is not None and replica.now() < sent_at + login.late_timeout
            if login is not None and in_time and isinstance(outcome, Success):
                replica.keep_late_reply(login, outcome.reply, sent_at)

        def reply(outcome: TokenResponse, after: float) -> None:
            if container == replica.container:
                replica.call_later(after, lambda: receive(outcome))

        self.network.send(effect, reply)

    def _replied(self, effect: Request, outcome: TokenResponse) -> None:
        self.network.invariants.on_reply(self.replica, effect, outcome)
        if self.slot is not None:
            slot, self.slot = self.slot, None
            self.replica.limiter.record_outcome(slot.issuer, slot.ref, slot.client, outcome)
        self.has_tokens = isinstance(outcome, Success)
        self.resume(outcome)

    def _perform_at_once(self, effect: Effect[Any]) -> Any:
        handle = _AT_ONCE.get(type(effect))
        return None if handle is None else handle(self, effect)

    def _write_spool(self, effect: effects.SpoolWrite) -> None:
        self.replica.kept.pop(effect.ref, None)
        if not self._spool_fails():
            self.replica.spool[effect.ref] = effect.entry
        elif effect.entry.reply is None:
            raise SpoolFailed("no space left")
        else:
            self.replica.kept[effect.ref] = effect.entry

    def _clear_spool(self, effect: effects.SpoolClear) -> None:
        self.replica.kept.pop(effect.ref, None)
        if self._spool_fails():
            raise SpoolFailed("no space left")
        self.replica.spool.pop(effect.ref, None)

    def _spool_fails(self) -> bool:
        return self.network.fault_strikes(self.network.parameters.spool_fails)

    def _introspect(self, effect: effects.Introspect) -> None:
        token = effect.refresh_token.reveal()
        answer = self.network.introspect(token)
        self.network.invariants.on_introspection(token, answer)
        self.replica.call_later(_ANSWER_SECONDS, lambda: self.resume(answer))

    def _probe(self, resume: Callable[[bool], None]) -> None:
        alive = self.network.probe()
        self.replica.call_later(_ANSWER_SECONDS, lambda: resume(alive))

    def _acquire_send_slot(self, effect: effects.AcquireSendSlot) -> None:
        if not self.replica.may_send():
            self.resume(math.inf)
            return
        limiter = self.replica.limiter

        def probed(alive: bool) -> None:  # noqa: FBT001 - as the effect's result
            limiter.record_probe(effect.issuer, alive=alive)
            self._use_slot(effect, limiter.acquire(effect.issuer, effect.ref, effect.client))

        decision = limiter.acquire(effect.issuer, effect.ref, effect.client)
        if decision.probe:
            self._probe(probed)
        else:
            self._use_slot(effect, decision)

    def _use_slot(self, effect: effects.AcquireSendSlot, decision: SlotDecision) -> None:
        self.client_refused = decision.client_refused
        if not (decision.wait or decision.probe or decision.client_refused):
            self.slot = effect
        self.resume(1.0 if decision.probe else decision.wait)

    def _release_send_slot(self, _: effects.ReleaseSendSlot) -> None:
        self.client_refused = False
        if self.slot is not None:
            self.replica.limiter.release(self.slot.issuer, self.slot.ref, self.slot.client)
            self.slot = None


_AT_ONCE: Mapping[type[Any], Callable[[Reconciliation, Any], Any]] = {
    effects.Now: lambda r, _: r.replica.now(),
    effects.Monotonic: lambda r, _: r.replica.monotonic(),
    effects.Nonce: lambda r, _: f"{r.replica.holder}-{next(r.replica.nonces)}",
    effects.TakeLateReply: lambda r, e: r.replica.late.pop(e.ref, None),
    effects.SpoolRead: lambda r, e: r.replica.kept.get(e.ref) or r.replica.spool.get(e.ref),
    effects.SpoolWrite: Reconciliation._write_spool,
    effects.SpoolClear: Reconciliation._clear_spool,
    effects.ReleaseSendSlot: Reconciliation._release_send_slot,
    effects.FindDuplicates: lambda r, e: r.replica.duplicates.find_and_update(
        e.ref, e.adopted_at, e.token_hashes
    ),
    effects.ReserveGrant: lambda r, e: r.replica.duplicates.reserve(e.ref, e.most),
    effects.FindLogin: lambda r, e: r.replica.cache.find_login(e.ref, e.login),
}
