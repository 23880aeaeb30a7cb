"""What each URL of the strict authorization server answers; sockets and faults are not here."""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

from csidriver.core.sensitive import Sensitive
from csidriver.demo.families import Client, Families, Refused
from csidriver.demo.http_messages import (
    Reply,
    Request,
    json_reply,
    read_credentials,
    read_form,
)
from csidriver.demo.presentation_log import Outcome


class Endpoints:
    """Metadata, token and introspection endpoint of one issuer."""

    def __init__(self, families: Families, issuer: str) -> None:
        self._families = families
        self._issuer = issuer
        self._base = issuer.rstrip("/")
        self._prefix = urlsplit(self._base).path

    def answer(self, request: Request) -> Reply:
        """The reply to any request."""
        route = self._routes().get(request.path)
        if route is None:
            return Reply(HTTPStatus.NOT_FOUND)
        method, endpoint = route
        if request.method != method:
            return Reply(HTTPStatus.METHOD_NOT_ALLOWED, {"Allow": method})
        return endpoint(request)

    def takes_grants(self, request: Request) -> bool:
        """Whether this is a token request, the kind that faults apply to."""
        return (request.method, request.path) == ("POST", f"{self._prefix}/token")

    def note(self, request: Request, outcome: Outcome) -> None:
        """Log the refresh token that a token request presented without being handled."""
        # More lenient than `read_form`: a faulty request discloses its token all the same.
        fields = parse_qs(request.body.decode("latin-1"))
        try:
            form = {name: values[0] for name, values in fields.items()}
            client_id = read_credentials(request.headers.get("authorization"), form).client_id
        except Refused:
            client_id = ""
        for token in fields.get("refresh_token", []):
            self._families.note(client_id, Sensitive(token), outcome)

    def _routes(self) -> Mapping[str, tuple[str, Callable[[Request], Reply]]]:
        routes: dict[str, tuple[str, Callable[[Request], Reply]]] = {
            f"{self._prefix}/token": ("POST", self._token),
            # RFC 8414 section 3.1 inserts the well-known part, OpenID Connect appends it.
            f"/.well-known/oauth-authorization-server{self._prefix}": ("GET", self._metadata),
            f"{self._prefix}/.well-known/openid-configuration": ("GET", self._metadata),
        }
        if self._families.policy.introspection:
            routes[f"{self._prefix}/introspect"] = ("POST", self._introspect)
        return routes

    def _metadata(self, _request: Request) -> Reply:
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

    def _token(self, request: Request) -> Reply:
        try:
            form = read_form(request)
            client = self._authenticate(request, form)
            token = _refresh_token(form)
        except Refused as refused:
            denied = refused.error == Outcome.INVALID_CLIENT
            self.note(request, Outcome.INVALID_CLIENT if denied else Outcome.INVALID_REQUEST)
            return _error(refused, request)
        try:
            scope = form.get("scope", "")
            reply = self._families.refresh(
                client.client_id, token, scope=scope, issuer=self._issuer
            )
        except Refused as refused:
            return _error(refused, request)
        return json_reply(reply)

    def _introspect(self, request: Request) -> Reply:
        try:
            form = read_form(request)
            client = self._authenticate(request, form)
            token = _inspected_token(client, form)
        except Refused as refused:
            return _error(refused, request)
        return json_reply(self._families.introspect(client.client_id, token))

    def _authenticate(self, request: Request, form: Mapping[str, str]) -> Client:
        claimed = read_credentials(request.headers.get("authorization"), form)
        return self._families.authenticate(claimed.client_id, claimed.secret)


def _refresh_token(form: Mapping[str, str]) -> Sensitive:
    if "grant_type" not in form:
        raise Refused("invalid_request", "grant_type is missing")
    if form["grant_type"] != "refresh_token":
        raise Refused("unsupported_grant_type", "only refresh_token is supported")
    if "refresh_token" not in form:
        raise Refused("invalid_request", "refresh_token is missing")
    return Sensitive(form["refresh_token"])


def _inspected_token(client: Client, form: Mapping[str, str]) -> Sensitive:
    if client.client_secret is None:
        # RFC 7662 section 2.1: else anyone could probe for tokens.
        raise Refused("invalid_client", "a public client may not introspect")
    if "token" not in form:
        raise Refused("invalid_request", "token is missing")
    return Sensitive(form["token"])


def _error(refused: Refused, request: Request) -> Reply:
    content = {"error": refused.error, "error_description": refused.description}
    if refused.error != "invalid_client":
        return json_reply(content, HTTPStatus.BAD_REQUEST)
    used_header = "authorization" in request.headers
    headers = {"WWW-Authenticate": 'Basic realm="demo"'} if used_header else {}
    return json_reply(content, HTTPStatus.UNAUTHORIZED, headers)
