"""What the refresh protocol may touch, as the refresher needs it. The adapters are elsewhere."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from csidriver.clock import Clock
from csidriver.core import names
from csidriver.core.kubernetes.event import Event
from csidriver.core.kubernetes.secret import Secret, SecretPatch
from csidriver.core.names import SourceRef
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.token_response import TokenResponse
from csidriver.core.refresh.effects import SpoolEntry
from csidriver.core.refresh.source import Client
from csidriver.core.sensitive import Sensitive
from csidriver.refresher.metrics import RefresherMetrics


class SecretStore(Protocol):
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


class SpoolStore(Protocol):
    """What survives a crash; every method but `count` raises SpoolFailed."""

    def read(self, ref: SourceRef) -> SpoolEntry | None:
        """The entry of a grant."""

    def write(self, ref: SourceRef, entry: SpoolEntry) -> None:
        """Write an entry and wait until it is safe."""

    def clear(self, ref: SourceRef) -> None:
        """Forget an entry."""

    def count(self) -> int:
        """How many entries there are."""


class TokenClient(Protocol):
    """Authorization servers; nothing here raises. Timeouts in seconds."""

    def refresh(
        self, issuer: Issuer, client: Client, refresh_token: Sensitive, timeout: float
    ) -> TokenResponse:
        """Present a refresh token; the outcome says it all."""

    def introspect(
        self, issuer: Issuer, client: Client, refresh_token: Sensitive, timeout: float
    ) -> bool | None:
        """Whether a refresh token is active, None if the server does not say."""

    def probe(self, issuer: Issuer) -> bool:
        """Whether there is a sign of life; takes a few seconds at most."""


class SleepingClock(Clock, Protocol):
    """A clock that can also sleep."""

    def sleep(self, seconds: float) -> None:
        """Sleep for so many seconds."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Everything the protocol may touch. `acquire_send_slot` says whether exchanges may start.

    `home` is the refresher's Deployment, which Events about issuers name.
    """

    store: SecretStore
    spool: SpoolStore
    token_client: TokenClient
    clock: SleepingClock
    metrics: RefresherMetrics
    may_send: Callable[[], bool]
    deployment: SourceRef = field(default=SourceRef(names.DRIVER_NAMESPACE, names.REFRESHER))
