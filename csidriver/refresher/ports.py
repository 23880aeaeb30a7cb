"""The interfaces through which the refresh protocol acts; `adapters` implements them."""

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
        """Return a Secret, None if it does not exist."""

    def create_secret(self, secret: Secret) -> Secret:
        """Create a Secret; raise StoreConflict if it exists."""

    def patch_secret(self, base: Secret, patch: SecretPatch) -> Secret:
        """Patch a Secret; raise StoreConflict if its version is not that of `base`."""

    def delete_secret(self, base: Secret) -> None:
        """Delete a Secret if it exists; raise StoreConflict if its version is another one."""

    def create_event(self, event: Event) -> None:
        """Create an Event, or count it if there is one like it."""


class SpoolStore(Protocol):
    """Storage that survives a crash; every method but `count` raises SpoolFailed."""

    def read(self, ref: SourceRef) -> SpoolEntry | None:
        """Return the entry of a grant, None if it does not exist."""

    def write(self, ref: SourceRef, entry: SpoolEntry) -> None:
        """Write an entry; it survives a crash once this returns."""

    def clear(self, ref: SourceRef) -> None:
        """Delete an entry if it exists."""

    def count(self) -> int:
        """Return the number of entries."""


class TokenClient(Protocol):
    """Requests to authorization servers; they never raise. Timeouts are in seconds."""

    def refresh(
        self, issuer: Issuer, client: Client, refresh_token: Sensitive, timeout: float
    ) -> TokenResponse:
        """Send a token request (RFC 6749 section 6)."""

    def introspect(
        self, issuer: Issuer, client: Client, refresh_token: Sensitive, timeout: float
    ) -> bool | None:
        """Return True if a refresh token is active, None if the server does not say."""

    def probe(self, issuer: Issuer) -> bool:
        """Return True if the server answers within a few seconds."""


class SleepingClock(Clock, Protocol):
    """A clock that can also sleep."""

    def sleep(self, seconds: float) -> None:
        """Sleep for so many seconds."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Everything that the protocol acts through. `may_send`: whether token requests may start.

    Events about issuers are about `deployment`, the refresher's.
    """

    store: SecretStore
    spool: SpoolStore
    token_client: TokenClient
    clock: SleepingClock
    metrics: RefresherMetrics
    may_send: Callable[[], bool]
    deployment: SourceRef = field(default=SourceRef(names.DRIVER_NAMESPACE, names.REFRESHER))
