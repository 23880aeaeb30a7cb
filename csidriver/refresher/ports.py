"""The interfaces through which the refresh protocol acts; `adapters` implements them."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from csidriver.clock import Clock
from csidriver.core import names
from csidriver.core.kubernetes.event import Event
from csidriver.core.kubernetes.secret import Secret, SecretPatch
from csidriver.core.names import SourceRef
from csidriver.core.oauth.introspection import Introspection
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.token_form import Form
from csidriver.core.oauth.token_response import TokenResponse
from csidriver.core.refresh.effects import SpoolEntry
from csidriver.core.refresh.source import Client
from csidriver.core.sensitive import Sensitive
from csidriver.refresher.late_replies import LateReplies
from csidriver.refresher.metrics import RefresherMetrics


class SecretStore(Protocol):
    """Secrets, Events and ConfigMaps; every method raises StoreError."""

    def get_secret(self, namespace: str, name: str) -> Secret | None:
        """Return a Secret, None if it does not exist."""

    def get_namespace_uid(self, namespace: str) -> str:
        """Return the uid of a namespace, "" if it does not exist."""

    def create_secret(self, secret: Secret) -> Secret:
        """Create a Secret; raise StoreConflict if it exists."""

    def patch_secret(self, base: Secret, patch: SecretPatch) -> Secret:
        """Patch a Secret; raise StoreConflict if its version is not that of `base`."""

    def delete_secret(self, base: Secret) -> None:
        """Delete a Secret if it exists; raise StoreConflict if its version is another one."""

    def create_event(self, event: Event) -> None:
        """Create an Event, or count it if there is one like it."""

    def get_config_map(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """Return the data of a ConfigMap, None if it does not exist."""

    def patch_config_map(self, namespace: str, name: str, data: Mapping[str, str | None]) -> None:
        """Set keys of a ConfigMap; None removes one."""


class SpoolStore(Protocol):
    """Storage that survives a crash; `read`, `write` and `clear` raise SpoolFailed."""

    def read(self, ref: SourceRef) -> SpoolEntry | None:
        """Return the entry of a grant, None if it does not exist."""

    def write(self, ref: SourceRef, entry: SpoolEntry) -> None:
        """Write an entry, which survives a crash; keep a reply in memory if that fails."""

    def clear(self, ref: SourceRef) -> None:
        """Delete an entry if it exists."""

    def ids(self) -> set[str]:
        """Return the ids of the tokens with an entry."""


class TokenClient(Protocol):
    """Requests to authorization servers; they never raise. Timeouts are in seconds."""

    def refresh(
        self,
        issuer: Issuer,
        client: Client,
        refresh_token: Sensitive,
        timeout: float,
        late_timeout: float,
        sent: threading.Event,
    ) -> TokenResponse:
        """Send a token request (RFC 6749 section 6); wait for its response for `late_timeout`.

        After `timeout` nothing is sent. Sets `sent` before the first byte of the token.
        """

    def request(self, issuer: Issuer, client: Client, form: Form, timeout: float) -> TokenResponse:
        """Send a token request that consumes nothing, and may so be sent again."""

    def introspect(
        self, issuer: Issuer, client: Client, refresh_token: Sensitive, timeout: float
    ) -> Introspection:
        """Ask whether a refresh token is active (RFC 7662)."""

    def probe(self, issuer: Issuer) -> bool:
        """Return True if the server itself answers within a few seconds."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Everything that the protocol acts through. `may_send`: whether token requests may start.

    Events about issuers are about `deployment`, the refresher's. Late replies come after the end of
    a controller, too.
    """

    store: SecretStore
    spool: SpoolStore
    token_client: TokenClient
    clock: Clock
    metrics: RefresherMetrics
    may_send: Callable[[], bool]
    late_replies: LateReplies = field(default_factory=LateReplies)
    deployment: SourceRef = field(default=SourceRef(names.DRIVER_NAMESPACE, names.REFRESHER))
