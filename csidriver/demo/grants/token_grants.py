"""client_credentials (RFC 6749, section 4.4) and token exchange (RFC 8693), without HTTP."""

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from urllib.parse import urlsplit

from csidriver.core.sensitive import Sensitive
from csidriver.demo.families import OAuthError, RegisteredClient, TokenFamilies, includes
from csidriver.demo.grants.grant_log import GrantRequest, without_secrets
from csidriver.demo.http_messages import Form, parameter

CLIENT_CREDENTIALS = "client_credentials"
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 - no password
GRANT_TYPES = [CLIENT_CREDENTIALS, TOKEN_EXCHANGE]
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - no password
_JWT = "urn:ietf:params:oauth:token-type:jwt"
# Resource servers that tokens can be for, besides the clients.
AUDIENCES = ("storage", "compute", "https://storage.example/")


class TokenGrants:
    """Issues tokens whose request may be repeated, and logs these requests."""

    def __init__(
        self,
        families: TokenFamilies,
        audiences: Collection[str] = AUDIENCES,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._families = families
        self._audiences = frozenset(audiences)
        self._now = now
        self._lock = threading.Lock()
        self._log: list[GrantRequest] = []

    def requests(self) -> tuple[GrantRequest, ...]:
        with self._lock:
            return tuple(self._log)

    def log_request(self, client_id: str, form: Form, error: str, token: str = "") -> None:
        """Log a request, be it granted, refused or not handled."""
        row = GrantRequest(
            self._now(),
            client_id,
            form.get("grant_type", ""),
            without_secrets(form.pairs),
            error,
            Sensitive(token).hash() if token else "",
        )
        with self._lock:
            self._log.append(row)

    def redeem(self, client: RegisteredClient, form: Form, issuer: str) -> dict[str, object]:
        """Return the fields of a token response, or raise OAuthError."""
        try:
            reply = self._redeem(client, form, issuer)
        except OAuthError as error:
            self.log_request(client.client_id, form, error.error)
            raise
        self.log_request(client.client_id, form, "", str(reply["access_token"]))
        return reply

    def _redeem(self, client: RegisteredClient, form: Form, issuer: str) -> dict[str, object]:
        if client.is_public:
            raise OAuthError("unauthorized_client", "a public client may not use this grant")
        if form["grant_type"] == CLIENT_CREDENTIALS:
            return self._own_token(client, form, issuer)
        return self._exchange(client, form, issuer)

    def _own_token(self, client: RegisteredClient, form: Form, issuer: str) -> dict[str, object]:
        scope = _scope(form, client.scope)
        audience = self._audience(form) or client.client_id
        return self._families.issue(
            client.client_id, scope, iss=issuer, sub=client.client_id, aud=audience
        )

    def _exchange(self, client: RegisteredClient, form: Form, issuer: str) -> dict[str, object]:
        subject = self._subject(client, form)
        if form.get("requested_token_type", ACCESS_TOKEN) not in {ACCESS_TOKEN, _JWT}:
            raise OAuthError("invalid_request", "requested_token_type can only be an access token")
        scope = _scope(form, str(subject["scope"]))
        audience = self._audience(form) or subject["aud"]
        kept = {name: subject[name] for name in ("sub", "sid") if name in subject}
        fields = self._families.issue(client.client_id, scope, iss=issuer, aud=audience, **kept)
        return {**fields, "issued_token_type": ACCESS_TOKEN}

    def _subject(self, client: RegisteredClient, form: Form) -> Mapping[str, object]:
        """Return the claims of the subject token; RFC 8693 section 2.2.2 has this error."""
        if "actor_token" in form:
            raise OAuthError("invalid_request", "delegation is not supported")
        if parameter(form, "subject_token_type") not in {ACCESS_TOKEN, _JWT}:
            raise OAuthError("invalid_request", "subject_token_type must be an access token")
        token = Sensitive(parameter(form, "subject_token"))
        claims = self._families.read_access_token(token)
        if claims is None:
            raise OAuthError("invalid_request", "subject_token is not a live access token")
        # As Keycloak has it: a client may exchange its own tokens, and those made for it.
        if client.client_id not in (claims["azp"], *_values(claims["aud"])):
            raise OAuthError("access_denied", "the client is not in the subject token's audience")
        return claims

    def _audience(self, form: Form) -> list[str]:
        """Return audiences and resources that are asked for, all of them known."""
        asked = [*form.every("audience"), *form.every("resource")]
        faulty = [each for each in form.every("resource") if not _is_resource(each)]
        known = {*self._audiences, *(client.client_id for client in self._families.clients())}
        if faulty or not known.issuperset(asked):
            raise OAuthError("invalid_target", "an audience or resource is unknown")
        return asked


def _scope(form: Form, granted: str) -> str:
    scope = form.get("scope", granted)
    if not includes(granted, scope):
        raise OAuthError("invalid_scope", "scope is wider than what can be granted")
    return scope


def _values(audience: object) -> Iterable[object]:
    return audience if isinstance(audience, list) else [audience]


def _is_resource(text: str) -> bool:
    """Return True for an absolute URI without a fragment (RFC 8707, section 2)."""
    parts = urlsplit(text)
    return bool(parts.scheme and parts.netloc) and "#" not in text
