"""Execution of the effects that the refresh protocol yields: calls, results and errors.

No decision is taken here. The simulator replaces this file and the threads, nothing else.
"""

import logging
import math
import secrets
import threading
from collections.abc import Callable, Generator, Mapping
from typing import Any, TypeVar

from csidriver.core.annotations import GRANT_SECRET_TYPE
from csidriver.core.kubernetes.event import Event
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import SourceRef
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.introspection import Introspection
from csidriver.core.oauth.token_response import Failure, Success, TokenResponse
from csidriver.core.refresh import effects
from csidriver.core.refresh.grant import Grant
from csidriver.errors import StoreConflict, StoreError
from csidriver.refresher.duplicate_index import DuplicateIndex
from csidriver.refresher.issuer_limits import evidence, health_event
from csidriver.refresher.own_writes import OwnWrites
from csidriver.refresher.ports import Ports
from csidriver.refresher.rate_limiter import RateLimiter

log = logging.getLogger(__name__)

R = TypeVar("R")

# Delay of a token whose issuer has just become known, so that it waits in that issuer's queue.
REQUEUE_SECONDS = 0.001


class Interpreter:
    """The state that all reconciliations share: ports, limits of issuers, index of duplicates.

    `requeue` is called for a token whose reply came late, `find_login` for FindLogin.
    """

    def __init__(self, ports: Ports) -> None:
        self.ports = ports
        self.requeue: Callable[[SourceRef], None] = lambda _: None
        self.find_login: Callable[[SourceRef, SourceRef], Grant | None] = lambda _r, _l: None
        self.limiter = RateLimiter(ports.clock.monotonic)
        self.duplicates = DuplicateIndex()
        self.own_writes = OwnWrites()

    def run(self, steps: Generator[effects.Effect[Any], Any, R]) -> R:
        """Run a generator to its end."""
        return self.runner().run(steps)

    def runner(self, issuer: str | None = None, ref: SourceRef | None = None) -> "EffectRunner":
        """Return a runner that writes for the token `ref` and waits for slots of `issuer` alone."""
        return EffectRunner(self, issuer, ref)


class EffectRunner:
    """Runs one generator, in one thread. `tokens_received` counts the replies with tokens."""

    def __init__(self, interpreter: Interpreter, issuer: str | None, ref: SourceRef | None) -> None:
        self.tokens_received = 0
        self._ref = ref
        self._queue_issuer = issuer
        self.interpreter = interpreter
        self.ports = interpreter.ports
        self._slot: effects.AcquireSendSlot | None = None
        self._issuer = issuer or ""
        self._deferred_events: list[Event] = []
        self._client_refused = False
        # When (monotonic) the outcome arrived that is not stored yet.
        self._commit_pending_since: float | None = None
        self._commit_may_have_arrived = False

    def run(self, steps: Generator[effects.Effect[Any], Any, R]) -> R:
        """Run the generator to its end; raise what it raises."""
        try:
            return effects.drive(steps, lambda effect: _HANDLERS[type(effect)](self, effect))
        finally:
            self._release_slot()
            # Not before: new tokens must not wait for an Event.
            for event in self._deferred_events:
                self._create_event(event, f"issuer {event.topic}")
            if (
                self.tokens_received
                and self._commit_pending_since is not None
                and not self._commit_may_have_arrived
            ):
                self.ports.metrics.race_lost.inc()

    def create_secret(self, effect: effects.CreateSecret) -> Secret:
        """Create a Secret; a new grant contains the outcome of a token request, if there is one."""
        return self._written(self.ports.store.create_secret(effect.secret))

    def patch_secret(self, effect: effects.PatchSecret) -> Secret:
        """Patch a Secret; the first patch of a grant after a token request stores its outcome."""
        try:
            with self.interpreter.own_writes.writing(effect.base.uid):
                return self._written(self.ports.store.patch_secret(effect.base, effect.patch))
        except StoreConflict:
            raise
        except StoreError:
            if self._commit_pending_since is not None and effect.base.type == GRANT_SECRET_TYPE:
                self._commit_may_have_arrived = True
            raise

    def _written(self, secret: Secret) -> Secret:
        if self._ref is not None:
            self.interpreter.own_writes.add(self._ref, secret)
        if self._commit_pending_since is not None and secret.type == GRANT_SECRET_TYPE:
            took = self.ports.clock.monotonic() - self._commit_pending_since
            self.ports.metrics.commit_seconds.observe(took)
            self._commit_pending_since = None
        return secret

    def acquire_send_slot(self, effect: effects.AcquireSendSlot) -> float:
        """Return the seconds to wait; probe a server that does not answer, if it is time to."""
        if not self.ports.may_send():
            return math.inf
        if self._queue_issuer not in (None, effect.issuer.name):
            return REQUEUE_SECONDS
        issuer, limiter = effect.issuer, self.interpreter.limiter
        self._issuer = issuer.name
        decision = limiter.acquire(issuer, effect.ref, effect.client)
        if decision.probe:
            limiter.record_probe(issuer, alive=self.ports.token_client.probe(issuer))
            decision = limiter.acquire(issuer, effect.ref, effect.client)
        self._client_refused = decision.client_refused
        if decision.probe:
            return 1.0  # another thread probed in between and found no answer
        if not decision.wait and not decision.client_refused:
            self._slot = effect
        return decision.wait

    def release_send_slot(self, _: effects.ReleaseSendSlot) -> None:
        self._client_refused = False
        self._release_slot()

    def _release_slot(self) -> None:
        if self._slot is not None:
            slot, self._slot = self._slot, None
            self.interpreter.limiter.release(slot.issuer, slot.ref, slot.client)

    def request_token(
        self, effect: effects.RequestToken | effects.RequestRepeatable
    ) -> TokenResponse:
        """Request a token, unless the server is known to refuse the client."""
        if self._client_refused:
            self._client_refused = False
            return Failure(FailureReason.INVALID_CLIENT)
        if isinstance(effect, effects.RequestRepeatable):
            outcome = self._send_repeatable(effect)
        else:
            outcome = self._send(effect)
        self._commit_pending_since = self.ports.clock.monotonic()
        self.tokens_received += isinstance(outcome, Success)
        if self._slot is not None:
            slot, self._slot = self._slot, None
            recorded, limiter = evidence(effect, outcome), self.interpreter.limiter
            health = limiter.record_outcome(slot.issuer, slot.ref, slot.client, recorded)
            if health is not None:
                deployment = self.ports.deployment
                self._deferred_events.append(health_event(slot.issuer, health, deployment))
        return outcome

    def _send_repeatable(self, effect: effects.RequestRepeatable) -> TokenResponse:
        ports, issuer, started = self.ports, effect.issuer, self.ports.clock.monotonic()
        response = ports.token_client.request(issuer, effect.client, effect.form, effect.timeout)
        ports.metrics.token_requested(issuer.name, response, ports.clock.monotonic() - started)
        return response

    def _send(self, effect: effects.RequestToken) -> TokenResponse:
        ports, issuer = self.ports, effect.issuer
        started, sent_at = ports.clock.monotonic(), ports.clock.now()

        def send(late_timeout: float, sent: threading.Event) -> TokenResponse:
            response = ports.token_client.refresh(
                issuer, effect.client, effect.refresh_token, effect.timeout, late_timeout, sent
            )
            ports.metrics.token_requested(issuer.name, response, ports.clock.monotonic() - started)
            return response

        def on_late(response: TokenResponse) -> None:
            if isinstance(response, Success):
                token_hash = effect.refresh_token.hash()
                entry = effects.SpoolEntry(effect.nonce, sent_at, response.reply, token_hash)
                ports.late_replies.keep(effect.ref, entry)
                self.interpreter.requeue(effect.ref)
                health = self.interpreter.limiter.record_late_reply(issuer, effect.ref)
                if health is not None:
                    event = health_event(issuer, health, ports.deployment)
                    self._create_event(event, f"issuer {issuer.name}")

        return ports.late_replies.request(
            issuer.name, send, effect.timeout, effect.late_timeout, on_late
        )

    def introspect(self, effect: effects.Introspect) -> Introspection:
        """Ask a server about a refresh token."""
        answer = self.ports.token_client.introspect(
            effect.issuer, effect.client, effect.refresh_token, effect.timeout
        )
        self.ports.metrics.introspections.labels(effect.issuer.name, answer.value).inc()
        return answer

    def emit_event(self, effect: effects.EmitEvent) -> None:
        """Write a log line, and an Event unless one about the issuer stands for all tokens."""
        level = logging.INFO if effect.normal else logging.WARNING
        log.log(level, "Secret %s: %s: %s", effect.ref, effect.reason, effect.message)
        self.ports.metrics.changes.labels(effect.reason).inc()
        event = Event(effect.ref, effect.source_uid, effect.reason, effect.message, effect.normal)
        if not (effect.of_issuer and self.interpreter.limiter.reports_for_all_tokens(self._issuer)):
            self._create_event(event, f"Secret {effect.ref}")

    def _create_event(self, event: Event, subject: str) -> None:
        try:
            self.ports.store.create_event(event)
        except StoreError as error:
            log.warning("cannot create an Event for %s: %s", subject, error)


_HANDLERS: Mapping[type, Callable[[EffectRunner, Any], Any]] = {
    effects.GetSecret: lambda r, e: r.ports.store.get_secret(e.namespace, e.name),
    effects.GetNamespaceUid: lambda r, e: r.ports.store.get_namespace_uid(e.namespace),
    effects.CreateSecret: EffectRunner.create_secret,
    effects.PatchSecret: EffectRunner.patch_secret,
    effects.DeleteSecret: lambda r, e: r.ports.store.delete_secret(e.base),
    effects.Now: lambda r, _: r.ports.clock.now(),
    effects.Monotonic: lambda r, _: r.ports.clock.monotonic(),
    effects.Nonce: lambda _r, _e: secrets.token_hex(16),
    effects.AcquireSendSlot: EffectRunner.acquire_send_slot,
    effects.ReleaseSendSlot: EffectRunner.release_send_slot,
    effects.FindDuplicates: lambda r, e: r.interpreter.duplicates.find_and_update(
        e.ref, e.adopted_at, e.token_hashes
    ),
    effects.ReserveGrant: lambda r, e: r.interpreter.duplicates.reserve(e.ref, e.most),
    effects.Introspect: EffectRunner.introspect,
    effects.Probe: lambda r, e: r.ports.token_client.probe(e.issuer),
    effects.TakeLateReply: lambda r, e: r.ports.late_replies.take(e.ref),
    effects.SpoolRead: lambda r, e: r.ports.spool.read(e.ref),
    effects.SpoolWrite: lambda r, e: r.ports.spool.write(e.ref, e.entry),
    effects.SpoolClear: lambda r, e: r.ports.spool.clear(e.ref),
    effects.RequestToken: EffectRunner.request_token,
    effects.RequestRepeatable: EffectRunner.request_token,
    effects.FindLogin: lambda r, e: r.interpreter.find_login(e.ref, e.login),
    effects.EmitEvent: EffectRunner.emit_event,
}
