"""Does what the refresh protocol asks for: turns effects into calls, results and errors.

No decision is taken here. The simulator replaces this file, and nothing else.
"""

import logging
import math
import secrets
from collections.abc import Callable, Generator, Mapping
from typing import Any, TypeVar

from csidriver.core.annotations import GRANT_TYPE
from csidriver.core.kubernetes.event import Event
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.token_response import Failure, Success, TokenResponse
from csidriver.core.refresh import effects
from csidriver.core.status import Status
from csidriver.errors import StoreConflict, StoreError
from csidriver.refresher.duplicate_index import DuplicateIndex
from csidriver.refresher.issuer_limits import IssuerHealth
from csidriver.refresher.ports import Ports, SpoolStore, Store, TokenEndpoints
from csidriver.refresher.rate_limiter import RateLimiter

__all__ = ["EffectRunner", "Interpreter", "Ports", "SpoolStore", "Store", "TokenEndpoints"]

log = logging.getLogger(__name__)

R = TypeVar("R")

# Seconds after which a visit goes on that has only just learnt which issuer it has to do with.
CHANGE_LANES = 0.001
# The reason of the Event that ends one of IssuerUnavailable.
ISSUER_AVAILABLE = "IssuerAvailable"


class Interpreter:
    """What all visits share: the world, the limits of its servers, the names of its tokens."""

    def __init__(self, world: Ports) -> None:
        self.world = world
        self.limiter = RateLimiter(world.clock.monotonic)
        self.names = DuplicateIndex()

    def run(self, steps: Generator[effects.Effect[Any], Any, R]) -> R:
        """Drive a generator to its end. Raises what it raises."""
        return self.perform(lambda: None).run(steps)

    def perform(self, step_aside: Callable[[], None], lane: str | None = None) -> "EffectRunner":
        """For one run; `yield_worker` is called when it will take long and hold up nobody.

        `lane` is the issuer whose share of workers it uses, and so the only one it may wait for.
        """
        return EffectRunner(self, step_aside, lane)


class EffectRunner:
    """One run of one generator, in one thread. `tokens` counts the replies that brought some."""

    def __init__(
        self, shared: Interpreter, step_aside: Callable[[], None], lane: str | None
    ) -> None:
        self.tokens = 0
        self._lane = lane
        self._shared = shared
        self.world = shared.world
        self._step_aside = step_aside
        self._slot: effects.AcquireSendSlot | None = None
        self._issuer = lane or ""
        self._deferred_events: list[Event] = []
        self._refused = False
        # Since when (monotonic) an outcome is to be stored; None if there is none.
        self._commit_pending_since: float | None = None
        self._commit_may_have_arrived = False

    def run(self, steps: Generator[effects.Effect[Any], Any, R]) -> R:
        """Drive a generator to its end. Raises what it raises."""
        try:
            return effects.drive(steps, lambda effect: _HANDLERS[type(effect)](self, effect))
        finally:
            self._give_back()
            # Not before: what an exchange brought must not wait for an Event.
            for event in self._deferred_events:
                self._record(event, f"issuer {event.topic}")
            if (
                self.tokens
                and self._commit_pending_since is not None
                and not self._commit_may_have_arrived
            ):
                self.world.metrics.race_lost()

    def create_secret(self, effect: effects.CreateSecret) -> Secret:
        """A grant that is created holds what an exchange brought, if one did."""
        stored = self.world.store.create_secret(effect.secret)
        self._stored(effect.secret)
        return stored

    def patch_secret(self, effect: effects.PatchSecret) -> Secret:
        """Once an exchange is over, the first patch of a grant that arrives is its commit."""
        try:
            stored = self.world.store.patch_secret(effect.base, effect.patch)
        except StoreConflict:
            raise
        except StoreError:
            if self._commit_pending_since is not None and effect.base.type == GRANT_TYPE:
                self._commit_may_have_arrived = True  # it may have arrived all the same
                self.world.metrics.commit_failed()
            raise
        self._stored(effect.base)
        return stored

    def _stored(self, secret: Secret) -> None:
        if self._commit_pending_since is not None and secret.type == GRANT_TYPE:
            self.world.metrics.committed(self.world.clock.monotonic() - self._commit_pending_since)
            self._commit_pending_since = None

    def acquire_send_slot(self, effect: effects.AcquireSendSlot) -> float:
        """Seconds to wait; whoever meets a silent server first looks whether it still lives."""
        if not self.world.may_send():
            return math.inf
        if self._lane not in (None, effect.issuer.name):
            return CHANGE_LANES
        issuer, limiter = effect.issuer, self._shared.limiter
        self._issuer = issuer.name
        turn = limiter.acquire(issuer, effect.ref, effect.client)
        if turn.probe:
            limiter.probed(issuer, alive=self.world.endpoints.probe(issuer))
            turn = limiter.acquire(issuer, effect.ref, effect.client)
        self._refused = turn.refused
        if turn.probe:
            return 1.0  # somebody else was faster, and found it dead
        if not turn.wait and not turn.refused:
            self._slot = effect
        return turn.wait

    def release_send_slot(self, _: effects.ReleaseSendSlot) -> None:
        """Nothing is sent after all."""
        self._refused = False
        self._give_back()

    def _give_back(self) -> None:
        if self._slot is not None:
            self._shared.limiter.release(self._slot.issuer, self._slot.client)
            self._slot = None

    def request_token(self, effect: effects.RequestToken) -> TokenResponse:
        """Present a refresh token, unless the server is known to refuse its client."""
        if self._refused:
            self._refused = False
            return Failure(FailureReason.INVALID_CLIENT)
        outcome = self._exchange(effect)
        self._commit_pending_since = self.world.clock.monotonic()
        self.tokens += isinstance(outcome, Success)
        if self._slot is not None:
            asked, self._slot = self._slot, None
            trouble = self._shared.limiter.record_outcome(
                asked.issuer, asked.ref, asked.client, outcome
            )
            if trouble is not None:
                self._changed(asked.issuer, trouble)
        return outcome

    def _changed(self, issuer: Issuer, trouble: IssuerHealth) -> None:
        """Operators learn how an issuer is, once for all of its tokens (protocol section 5)."""
        well = trouble is IssuerHealth.NONE
        message = f"issuer {issuer.name} {trouble.value}"
        log.log(logging.INFO if well else logging.WARNING, "%s", message)
        reason = ISSUER_AVAILABLE if well else Status.ISSUER_UNAVAILABLE.value
        home = self.world.deployment
        self._deferred_events.append(
            Event(home, "", reason, message, well, "Deployment", issuer.name)
        )

    def _exchange(self, effect: effects.RequestToken) -> TokenResponse:
        world, issuer = self.world, effect.issuer
        started = world.clock.monotonic()
        outcome = world.endpoints.refresh(
            issuer, effect.client, effect.refresh_token, effect.timeout
        )
        world.metrics.exchanged(issuer.name, outcome, world.clock.monotonic() - started)
        return outcome

    def introspect(self, effect: effects.Introspect) -> bool | None:
        """Ask about a refresh token."""
        active = self.world.endpoints.introspect(
            effect.issuer, effect.client, effect.refresh_token, effect.timeout
        )
        self.world.metrics.introspected(effect.issuer.name, active)
        return active

    def step_aside(self, _: effects.YieldWorker) -> None:
        """Let another worker in."""
        self._step_aside()

    def find_duplicates(self, effect: effects.FindDuplicates) -> tuple[effects.Duplicate, ...]:
        """Ask for other tokens of the same login."""
        return self._shared.names.find_and_update(
            effect.ref, effect.adopted_at, effect.token_hashes
        )

    def emit_event(self, effect: effects.EmitEvent) -> None:
        """A log line, and an Event unless there is one of its issuer for all tokens."""
        level = logging.INFO if effect.normal else logging.WARNING
        log.log(level, "Secret %s: %s: %s", effect.ref, effect.reason, effect.message)
        self.world.metrics.reported(effect.reason)
        event = Event(
            ref=effect.ref,
            uid=effect.source_uid,
            reason=effect.reason,
            message=effect.message,
            normal=effect.normal,
        )
        if not (effect.of_issuer and self._shared.limiter.rate_shares(self._issuer)):
            self._record(event, f"Secret {effect.ref}")

    def _record(self, event: Event, about: str) -> None:
        try:
            self.world.store.create_event(event)
        except StoreError as error:
            log.warning("no Event for %s: %s", about, error)


_HANDLERS: Mapping[type, Callable[[EffectRunner, Any], Any]] = {
    effects.GetSecret: lambda p, e: p.world.store.get_secret(e.namespace, e.name),
    effects.CreateSecret: EffectRunner.create_secret,
    effects.PatchSecret: EffectRunner.patch_secret,
    effects.DeleteSecret: lambda p, e: p.world.store.delete_secret(e.base),
    effects.Now: lambda p, _: p.world.clock.now(),
    effects.Monotonic: lambda p, _: p.world.clock.monotonic(),
    effects.Nonce: lambda _p, _e: secrets.token_hex(16),
    effects.Wait: lambda p, e: p.world.clock.sleep(e.seconds),
    effects.YieldWorker: EffectRunner.step_aside,
    effects.AcquireSendSlot: EffectRunner.acquire_send_slot,
    effects.ReleaseSendSlot: EffectRunner.release_send_slot,
    effects.FindDuplicates: EffectRunner.find_duplicates,
    effects.Introspect: EffectRunner.introspect,
    effects.SpoolRead: lambda p, e: p.world.spool.read(e.ref),
    effects.SpoolWrite: lambda p, e: p.world.spool.write(e.ref, e.entry),
    effects.SpoolClear: lambda p, e: p.world.spool.clear(e.ref),
    effects.RequestToken: EffectRunner.request_token,
    effects.EmitEvent: EffectRunner.emit_event,
}
