"""Introspection, and a log of token requests that were refused or not handled."""

from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import parse_qs

from csidriver.core.sensitive import Sensitive
from csidriver.demo.endpoints import METHODS, Endpoint, IssuerEndpoints
from csidriver.demo.families import OAuthError, RegisteredClient
from csidriver.demo.grants.token_grants import GRANT_TYPES
from csidriver.demo.http_messages import (
    Form,
    HttpReply,
    HttpRequest,
    json_reply,
    parameter,
    read_credentials,
    read_form,
)
from tests.issuer.policy import PolicyFamilies, PolicyOutcome


class PolicyEndpoints(IssuerEndpoints):
    _families: PolicyFamilies

    def is_token_request(self, request: HttpRequest) -> bool:
        """Return True for a token request; faults apply only to these."""
        return (request.method, request.path) == ("POST", f"{self._prefix}/token")

    def log_unhandled(self, request: HttpRequest, outcome: PolicyOutcome) -> None:
        # More lenient than `read_form`, because a malformed request shows its token too.
        fields = parse_qs(request.body.decode("latin-1"))
        form = {name: values[0] for name, values in fields.items()}
        client_id = _client_id(request, form)
        for token in fields.get("refresh_token", []):
            self._families.log_presentation(client_id, Sensitive(token), outcome)
        # Such a request that is faulty has been logged by the grants.
        if form.get("grant_type") in GRANT_TYPES and outcome != PolicyOutcome.INVALID_REQUEST:
            self._grants.log_request(client_id, Form(form.items()), outcome)

    def _routes(self) -> dict[tuple[str, str], Endpoint]:
        routes = super()._routes()
        if self._families.policy.introspection:
            routes["POST", f"{self._prefix}/introspect"] = self._introspect
        return routes

    def _document(self) -> dict[str, object]:
        document = super()._document()
        if self._families.policy.introspection:
            document["introspection_endpoint"] = f"{self._base}/introspect"
            document["introspection_endpoint_auth_methods_supported"] = METHODS[:2]
        return document

    def _token(self, request: HttpRequest) -> HttpReply:
        try:
            if self._is_throttled(request):
                self.log_unhandled(request, PolicyOutcome.THROTTLED)
                return HttpReply(HTTPStatus.TOO_MANY_REQUESTS, {"Retry-After": "3600"})
            return super()._token(request)
        except OAuthError as error:
            # The families have logged their own refusals.
            if error.error == "invalid_client":
                self.log_unhandled(request, PolicyOutcome.INVALID_CLIENT)
            elif error.error not in {"invalid_grant", "invalid_scope"}:
                self.log_unhandled(request, PolicyOutcome.INVALID_REQUEST)
            raise

    def _is_throttled(self, request: HttpRequest) -> bool:
        prefix = self._families.policy.throttled
        return bool(prefix) and _client_id(request, read_form(request)).startswith(prefix)

    def _introspect(self, request: HttpRequest) -> HttpReply:
        form = read_form(request)
        client = self._authenticate(request, form)
        token = _introspected_token(client, form)
        return json_reply(self._families.introspect(client.client_id, token))


def _client_id(request: HttpRequest, form: Mapping[str, str]) -> str:
    try:
        client_id, _ = read_credentials(request.headers.get("authorization"), form)
    except OAuthError:
        return ""  # perhaps an assertion names it
    return client_id


def _introspected_token(client: RegisteredClient, form: Mapping[str, str]) -> Sensitive:
    if client.is_public:
        # RFC 7662 section 2.1: otherwise anyone could probe for tokens.
        raise OAuthError("invalid_client", "a public client may not introspect")
    return Sensitive(parameter(form, "token"))
