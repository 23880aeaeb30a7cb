"""The endpoints of the strict authorization server: an HTTP request in, an HTTP reply out."""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from urllib.parse import urlsplit

from csidriver.core.sensitive import Sensitive
from csidriver.demo.families import OAuthError, RegisteredClient, TokenFamilies
from csidriver.demo.http_messages import (
    HttpReply,
    HttpRequest,
    json_reply,
    read_credentials,
    read_form,
)

METHODS = ["client_secret_basic", "client_secret_post", "none"]

Endpoint = Callable[[HttpRequest], HttpReply]


class IssuerEndpoints:
    """Metadata and token endpoint of one issuer."""

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

    def _routes(self) -> dict[str, tuple[str, Endpoint]]:
        return {
            f"{self._prefix}/token": ("POST", self._token),
            # RFC 8414 section 3.1 inserts the well-known part, OpenID Connect appends it.
            f"/.well-known/oauth-authorization-server{self._prefix}": ("GET", self._metadata),
            f"{self._prefix}/.well-known/openid-configuration": ("GET", self._metadata),
        }

    def _metadata(self, _request: HttpRequest) -> HttpReply:
        return json_reply(self._document())

    def _document(self) -> dict[str, object]:
        return {
            "issuer": self._issuer,
            "token_endpoint": f"{self._base}/token",
            "token_endpoint_auth_methods_supported": METHODS,
            "grant_types_supported": ["refresh_token"],
        }

    def _token(self, request: HttpRequest) -> HttpReply:
        form = read_form(request)
        client = self._authenticate(request, form)
        if parameter(form, "grant_type") != "refresh_token":
            raise OAuthError("unsupported_grant_type", "only refresh_token is supported")
        token = Sensitive(parameter(form, "refresh_token"))
        scope = form.get("scope", "")
        return json_reply(
            self._families.refresh(client.client_id, token, scope=scope, issuer=self._issuer)
        )

    def _authenticate(self, request: HttpRequest, form: Mapping[str, str]) -> RegisteredClient:
        client_id, secret = read_credentials(request.headers.get("authorization"), form)
        return self._families.authenticate(client_id, secret)


def parameter(form: Mapping[str, str], name: str) -> str:
    """Return a parameter of a form, or raise OAuthError."""
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
