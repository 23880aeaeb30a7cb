"""Does what the refresh protocol asks for: turns effects into calls, results and errors.

No decision is taken here. The simulator replaces this file, and nothing else.
"""

import logging
import secrets
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from csidriver.core import effects
from csidriver.core.contract import Ref
from csidriver.core.issuers import Issuer
from csidriver.core.outcome import Outcome
from csidriver.core.secret import Secret, SecretPatch
from csidriver.core.sensitive import Sensitive
from csidriver.core.source import Client
from csidriver.core.store import Event
from csidriver.errors import StoreError
from csidriver.refresher.metrics import RefresherMetrics

log = logging.getLogger(__name__)

R = TypeVar("R")


class Store(Protocol):
    """Secrets and Events; every method raises StoreError."""

    def get_secret(self, namespace: str, name: str) -> Secret | None:
        """The Secret, None if there is none."""

    def create_secret(self, secret: Secret) -> Secret:
        """Create it; StoreConflict if there is one."""

    def patch_secret(self, base: Secret, patch: SecretPatch) -> Secret:
        """Patch it at the version of `base`; StoreConflict if it has moved."""

    def delete_secret(self, base: Secret) -> None:
        """Delete it at the version of `base`; fine if it is gone."""

    def create_event(self, event: Event) -> None:
        """Record an Event about a source."""


class Spooling(Protocol):
    """What survives a crash; every method raises SpoolFailed."""

    def read(self, ref: Ref) -> effects.SpoolEntry | None:
        """The entry of a grant."""

    def write(self, ref: Ref, entry: effects.SpoolEntry) -> None:
        """Write an entry and wait until it is safe."""

    def clear(self, ref: Ref) -> None:
        """Forget an entry."""


class TokenEndpoints(Protocol):
    """Authorization servers."""

    def refresh(
        self, issuer: Issuer, client: Client, refresh_token: Sensitive, timeout: float
    ) -> Outcome:
        """Present a refresh token; never raises, the outcome says it all. `timeout` in seconds."""


class Clock(Protocol):
    """Time, in seconds."""

    def now(self) -> float:
        """Wall clock, epoch seconds."""

    def monotonic(self) -> float:
        """A clock that never jumps."""

    def sleep(self, seconds: float) -> None:
        """Let time pass."""


@dataclass(frozen=True, slots=True)
class World:
    """Everything the protocol may touch. `may_send` says whether exchanges may start."""

    store: Store
    spool: Spooling
    endpoints: TokenEndpoints
    clock: Clock
    metrics: RefresherMetrics
    may_send: Callable[[], bool]


class Interpreter:
    """Runs one generator at a time in the calling thread; safe to share between threads."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._handlers: Mapping[type, Callable[[Any], Any]] = {
            effects.GetSecret: lambda e: world.store.get_secret(e.namespace, e.name),
            effects.CreateSecret: lambda e: world.store.create_secret(e.secret),
            effects.PatchSecret: lambda e: world.store.patch_secret(e.base, e.patch),
            effects.DeleteSecret: lambda e: world.store.delete_secret(e.base),
            effects.Now: lambda _: world.clock.now(),
            effects.Monotonic: lambda _: world.clock.monotonic(),
            effects.Nonce: lambda _: secrets.token_hex(16),
            effects.Wait: lambda e: world.clock.sleep(e.seconds),
            effects.MaySend: lambda _: world.may_send(),
            effects.SpoolRead: lambda e: world.spool.read(e.ref),
            effects.SpoolWrite: lambda e: world.spool.write(e.ref, e.entry),
            effects.SpoolClear: lambda e: world.spool.clear(e.ref),
            effects.Send: self._send,
            effects.Report: self._report,
        }

    def run(self, steps: Generator[effects.Effect[Any], Any, R]) -> R:
        """Drive a generator to its end. Raises what it raises."""
        return effects.drive(steps, lambda effect: self._handlers[type(effect)](effect))

    def _send(self, effect: effects.Send) -> Outcome:
        started = self._world.clock.monotonic()
        outcome = self._world.endpoints.refresh(
            effect.issuer, effect.client, effect.refresh_token, effect.timeout
        )
        seconds = self._world.clock.monotonic() - started
        self._world.metrics.exchanged(effect.issuer.name, outcome, seconds)
        return outcome

    def _report(self, effect: effects.Report) -> None:
        level = logging.INFO if effect.normal else logging.WARNING
        log.log(level, "Secret %s: %s: %s", effect.ref, effect.reason, effect.message)
        event = Event(
            ref=effect.ref,
            uid=effect.source_uid,
            reason=effect.reason,
            message=effect.message,
            normal=effect.normal,
        )
        try:
            self._world.store.create_event(event)
        except StoreError as error:
            log.warning("no Event for Secret %s: %s", effect.ref, error)
