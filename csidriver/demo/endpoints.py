"""The endpoints of the strict authorization server: an HTTP request in, an HTTP reply out."""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

from csidriver.core.sensitive import Sensitive
from csidriver.demo.families import OAuthError, RegisteredClient, TokenFamilies
from csidriver.demo.http_messages import (
    HttpReply,
    HttpRequest,
    json_reply,
    read_credentials,
    read_form,
)
from csidriver.demo.presentation_log import Outcome


class IssuerEndpoints:
    """Metadata, token and introspection endpoint of one issuer."""

    def __init__(self, families: TokenFamilies, issuer: str) -> None:
        self._families = families
        self._issuer = issuer
        self._base = issuer.rstrip("/")
        self._prefix = urlsplit(self._base).path

    def handle(self, request: HttpRequest) -> HttpReply:
        route = self._routes().get(request.path)
        if route is None:
            return HttpReply(HTTPStatus.NOT_FOUND)
        method, endpoint = route
        if request.method != method:
            return HttpReply(HTTPStatus.METHOD_NOT_ALLOWED, {"Allow": method})
        try:
            return endpoint(request)
        except OAuthError as error:
            return _error_reply(error, request)

    def is_token_request(self, request: HttpRequest) -> bool:
        """Return True for a token request; faults apply only to these."""
        return (request.method, request.path) == ("POST", f"{self._prefix}/token")

    def log_unhandled(self, request: HttpRequest, outcome: Outcome) -> None:
        """Log the refresh token of a token request that the endpoint did not handle."""
        # More lenient than `read_form`, because a malformed request shows its token too.
        fields = parse_qs(request.body.decode("latin-1"))
        try:
            form = {name: values[0] for name, values in fields.items()}
            client_id, _ = read_credentials(request.headers.get("authorization"), form)
        except OAuthError:
            client_id = ""
        for token in fields.get("refresh_token", []):
            self._families.log_presentation(client_id, Sensitive(token), outcome)

    def _routes(self) -> Mapping[str, tuple[str, Callable[[HttpRequest], HttpReply]]]:
        routes: dict[str, tuple[str, Callable[[HttpRequest], HttpReply]]] = {
            f"{self._prefix}/token": ("POST", self._token),
            # RFC 8414 section 3.1 inserts the well-known part, OpenID Connect appends it.
            f"/.well-known/oauth-authorization-server{self._prefix}": ("GET", self._metadata),
            f"{self._prefix}/.well-known/openid-configuration": ("GET", self._metadata),
        }
        if self._families.policy.introspection:
            routes[f"{self._prefix}/introspect"] = ("POST", self._introspect)
        return routes

    def _metadata(self, _request: HttpRequest) -> HttpReply:
        methods = ["client_secret_basic", "client_secret_post", "none"]
        document: dict[str, object] = {
            "issuer": self._issuer,
            "token_endpoint": f"{self._base}/token",
            "token_endpoint_auth_methods_supported": methods,
            "grant_types_supported": ["refresh_token"],
        }
        if self._families.policy.introspection:
            document["introspection_endpoint"] = f"{self._base}/introspect"
            document["introspection_endpoint_auth_methods_supported"] = methods[:2]
        return json_reply(document)

    def _token(self, request: HttpRequest) -> HttpReply:
        try:
            form = read_form(request)
            client = self._authenticate(request, form)
            token = _refresh_token(form)
        except OAuthError as error:
            denied = error.error == Outcome.INVALID_CLIENT
            self.log_unhandled(
                request, Outcome.INVALID_CLIENT if denied else Outcome.INVALID_REQUEST
            )
            raise
        scope = form.get("scope", "")
        return json_reply(
            self._families.refresh(client.client_id, token, scope=scope, issuer=self._issuer)
        )

    def _introspect(self, request: HttpRequest) -> HttpReply:
        form = read_form(request)
        client = self._authenticate(request, form)
        token = _introspected_token(client, form)
        return json_reply(self._families.introspect(client.client_id, token))

    def _authenticate(self, request: HttpRequest, form: Mapping[str, str]) -> RegisteredClient:
        client_id, secret = read_credentials(request.headers.get("authorization"), form)
        return self._families.authenticate(client_id, secret)


def _refresh_token(form: Mapping[str, str]) -> Sensitive:
    if _parameter(form, "grant_type") != "refresh_token":
        raise OAuthError("unsupported_grant_type", "only refresh_token is supported")
    return Sensitive(_parameter(form, "refresh_token"))


def _introspected_token(client: RegisteredClient, form: Mapping[str, str]) -> Sensitive:
    if client.client_secret is None:
        # RFC 7662 section 2.1: otherwise anyone could probe for tokens.
        raise OAuthError("invalid_client", "a public client may not introspect")
    return Sensitive(_parameter(form, "token"))


def _parameter(form: Mapping[str, str], name: str) -> str:
    if name not in form:
        raise OAuthError("invalid_request", f"{name} is missing")
    return form[name]


def _error_reply(error: OAuthError, request: HttpRequest) -> HttpReply:
    content = {"error": error.error, "error_description": error.description}
    if error.error != "invalid_client":
        return json_reply(content, HTTPStatus.BAD_REQUEST)
    used_header = "authorization" in request.headers
    headers = {"WWW-Authenticate": 'Basic realm="demo"'} if used_header else {}
    return json_reply(content, HTTPStatus.UNAUTHORIZED, headers)
