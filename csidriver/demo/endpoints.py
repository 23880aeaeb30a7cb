"""The endpoints of the strict authorization server: an HTTP request in, an HTTP reply out."""

from collections.abc import Callable
from http import HTTPStatus
from urllib.parse import urlsplit

from csidriver.core.sensitive import Sensitive
from csidriver.demo.families import OAuthError, RegisteredClient, TokenFamilies
from csidriver.demo.grants.assertions import AssertionVerifier
from csidriver.demo.grants.token_grants import GRANT_TYPES, TokenGrants
from csidriver.demo.http_messages import (
    Form,
    HttpReply,
    HttpRequest,
    json_reply,
    parameter,
    read_credentials,
    read_form,
)
from csidriver.demo.login_handler import GRANTS, LoginHandler
from csidriver.demo.logins import PendingLogins

METHODS = ["client_secret_basic", "client_secret_post", "none"]

Endpoint = Callable[[HttpRequest], HttpReply]


class IssuerEndpoints:
    """Metadata, token endpoint and logins of one issuer."""

    def __init__(
        self, families: TokenFamilies, grants: TokenGrants, logins: PendingLogins, issuer: str
    ) -> None:
        self._families = families
        self._grants = grants
        self._assertions = AssertionVerifier(families.clients(), issuer)
        self._logins = LoginHandler(families, logins, issuer)
        self._issuer = issuer
        self._base = issuer.rstrip("/")
        self._prefix = urlsplit(self._base).path

    def handle(self, request: HttpRequest) -> HttpReply:
        routes = self._routes()
        methods = [method for method, path in routes if path == request.path]
        if not methods:
            return HttpReply(HTTPStatus.NOT_FOUND)
        if request.method not in methods:
            return HttpReply(HTTPStatus.METHOD_NOT_ALLOWED, {"Allow": ", ".join(methods)})
        endpoint = routes[request.method, request.path]
        try:
            return endpoint(request)
        except OAuthError as error:
            return _error_reply(error, request)

    def _routes(self) -> dict[tuple[str, str], Endpoint]:
        logins, prefix = self._logins, self._prefix
        return {
            ("POST", f"{prefix}/token"): self._token,
            ("POST", f"{prefix}/device_authorization"): self._start_device,
            ("GET", f"{prefix}/device"): logins.open_device_page,
            ("POST", f"{prefix}/device"): logins.decide_device,
            ("GET", f"{prefix}/authorize"): logins.open_authorization_page,
            ("POST", f"{prefix}/authorize"): logins.decide_authorization,
            # RFC 8414 section 3.1 inserts the well-known part, OpenID Connect appends it.
            ("GET", f"/.well-known/oauth-authorization-server{prefix}"): self._metadata,
            ("GET", f"{prefix}/.well-known/openid-configuration"): self._metadata,
        }

    def _metadata(self, _request: HttpRequest) -> HttpReply:
        return json_reply(self._document())

    def _document(self) -> dict[str, object]:
        document: dict[str, object] = {
            "issuer": self._issuer,
            "token_endpoint": f"{self._base}/token",
            "token_endpoint_auth_methods_supported": METHODS,
            "grant_types_supported": ["refresh_token", *GRANTS, *GRANT_TYPES],
            **self._logins.metadata(),
        }
        if self._assertions.is_needed:
            document["token_endpoint_auth_methods_supported"] = [*METHODS, "private_key_jwt"]
            document["token_endpoint_auth_signing_alg_values_supported"] = ["RS256", "ES256"]
        return document

    def _token(self, request: HttpRequest) -> HttpReply:
        form = read_form(request)
        client = self._authenticate(request, form)
        grant_type = parameter(form, "grant_type")
        if grant_type in GRANT_TYPES:
            return json_reply(self._grants.redeem(client, form, self._issuer))
        if grant_type in GRANTS:
            return self._logins.redeem(client.client_id, form)
        if grant_type != "refresh_token":
            raise OAuthError("unsupported_grant_type", "it is not one of the metadata")
        token = Sensitive(parameter(form, "refresh_token"))
        scope = form.get("scope", "")
        return json_reply(
            self._families.refresh(client.client_id, token, scope=scope, issuer=self._issuer)
        )

    def _start_device(self, request: HttpRequest) -> HttpReply:
        form = read_form(request)
        return self._logins.start_device(self._authenticate(request, form).client_id, form)

    def _authenticate(self, request: HttpRequest, form: Form) -> RegisteredClient:
        if "client_assertion" in form:
            if "authorization" in request.headers or "client_secret" in form:
                raise OAuthError("invalid_request", "more than one client authentication method")
            return self._assertions.authenticate(form)
        client_id, secret = read_credentials(request.headers.get("authorization"), form)
        return self._families.authenticate(client_id, secret)


def _error_reply(error: OAuthError, request: HttpRequest) -> HttpReply:
    content = {"error": error.error, "error_description": error.description}
    if error.error != "invalid_client":
        return json_reply(content, HTTPStatus.BAD_REQUEST)
    used_header = "authorization" in request.headers
    headers = {"WWW-Authenticate": 'Basic realm="demo"'} if used_header else {}
    return json_reply(content, HTTPStatus.UNAUTHORIZED, headers)
