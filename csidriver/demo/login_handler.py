"""The endpoints and pages of logins: device flow (RFC 8628), authorization code with PKCE."""

from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import urlencode, urlsplit

from csidriver.core.sensitive import Sensitive
from csidriver.demo.families import SCOPE, OAuthError, TokenFamilies, includes
from csidriver.demo.http_messages import (
    HttpReply,
    HttpRequest,
    json_reply,
    parameter,
    read_fields,
    read_form,
)
from csidriver.demo.logins import DEVICE_CODE_GRANT, AuthorizationRequest, PendingLogins
from csidriver.demo.pages import authorization_page, device_page, message_page

GRANTS = [DEVICE_CODE_GRANT, "authorization_code"]
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
_DONE = "You can close this page and go back to the terminal."


class LoginHandler:
    """Serves users and programs that log in."""

    def __init__(self, families: TokenFamilies, logins: PendingLogins, issuer: str) -> None:
        self._families = families
        self._logins = logins
        self._issuer = issuer
        self._base = issuer.rstrip("/")

    def metadata(self) -> dict[str, object]:
        return {
            "authorization_endpoint": f"{self._base}/authorize",
            "device_authorization_endpoint": f"{self._base}/device_authorization",
            "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
            "scopes_supported": SCOPE.split(),
        }

    def start_device(self, client_id: str, form: Mapping[str, str]) -> HttpReply:
        """Answer a device authorization request."""
        login = self._logins.start_device(client_id, _scope(form))
        page = f"{self._base}/device"
        return json_reply(
            {
                "device_code": login.device_code.reveal(),
                "user_code": login.user_code,
                "verification_uri": page,
                "verification_uri_complete": f"{page}?{urlencode({'user_code': login.user_code})}",
                "expires_in": int(self._logins.lifetime),
                "interval": int(login.interval),
            }
        )

    def redeem(self, client_id: str, form: Mapping[str, str]) -> HttpReply:
        """Answer a token request that ends a login."""
        if form["grant_type"] == DEVICE_CODE_GRANT:
            code = Sensitive(parameter(form, "device_code"))
            scope = self._logins.redeem_device(client_id, code)
        else:
            code = Sensitive(parameter(form, "code"))
            redirect_uri = parameter(form, "redirect_uri")
            verifier = parameter(form, "code_verifier")
            scope = self._logins.redeem_code(client_id, code, redirect_uri, verifier)
        return json_reply(self._families.log_in(client_id, scope=scope, issuer=self._issuer))

    def open_device_page(self, request: HttpRequest) -> HttpReply:
        user_code = read_fields(request.query).get("user_code", "")
        login = self._logins.find_device(user_code)
        asks = "A program asks to log in." if login is None else _asks(login.client_id, login.scope)
        return device_page(user_code, asks)

    def decide_device(self, request: HttpRequest) -> HttpReply:
        form = read_form(request)
        login = self._logins.find_device(form.get("user_code", ""))
        if login is None:
            problem = "This code is unknown, used or expired. Type the code of the terminal again."
            return device_page("", "", problem)
        login.allowed = form.get("decision") == "allow"
        return message_page("Allowed" if login.allowed else "Denied", _DONE)

    def open_authorization_page(self, request: HttpRequest) -> HttpReply:
        return self._authorize(read_fields(request.query), "")

    def decide_authorization(self, request: HttpRequest) -> HttpReply:
        form = read_form(request)
        return self._authorize(form, form.get("decision", "deny"))

    def _authorize(self, form: Mapping[str, str], decision: str) -> HttpReply:
        # Before both are right, nothing may be redirected (RFC 6749 section 4.1.2.1).
        client_id, redirect_uri = form.get("client_id", ""), form.get("redirect_uri", "")
        if not self._families.is_registered(client_id) or not is_loopback(redirect_uri):
            problem = "client_id must be registered, and redirect_uri an address of loopback."
            return message_page("Login", problem, HTTPStatus.BAD_REQUEST)
        state = form.get("state", "")
        try:
            scope, challenge = _check_authorization(form)
        except OAuthError as error:
            return self._redirect(redirect_uri, state, error=error.error)
        if decision == "allow":
            asked = AuthorizationRequest(client_id, redirect_uri, scope, challenge)
            return self._redirect(redirect_uri, state, code=self._logins.issue_code(asked).reveal())
        if decision:
            return self._redirect(redirect_uri, state, error="access_denied")
        hidden = {name: value for name, value in form.items() if name != "decision"}
        return authorization_page(_asks(client_id, scope), hidden)

    def _redirect(self, redirect_uri: str, state: str, **parameters: str) -> HttpReply:
        given = {"state": state} if state else {}
        query = urlencode({**parameters, **given, "iss": self._issuer})  # RFC 9207
        location = f"{redirect_uri}{'&' if '?' in redirect_uri else '?'}{query}"
        return HttpReply(HTTPStatus.SEE_OTHER, {"Location": location, "Cache-Control": "no-store"})


def is_loopback(uri: str) -> bool:
    """Return True for a redirect URI of a program on the user's machine, whatever its port."""
    try:
        parts, port = urlsplit(uri), urlsplit(uri).port
    except ValueError:
        return False
    is_plain = uri.isascii() and uri.isprintable() and not set(" @#\\") & set(uri)
    return is_plain and parts.scheme == "http" and parts.hostname in _LOOPBACK and port != 0


def _check_authorization(form: Mapping[str, str]) -> tuple[str, str]:
    if parameter(form, "response_type") != "code":
        raise OAuthError("unsupported_response_type", "only code is supported")
    if form.get("code_challenge_method") != "S256":
        raise OAuthError("invalid_request", "code_challenge_method must be S256")
    return _scope(form), parameter(form, "code_challenge")


def _scope(form: Mapping[str, str]) -> str:
    scope = form.get("scope", SCOPE)
    if not includes(SCOPE, scope):
        raise OAuthError("invalid_scope", "scope is wider than what can be granted")
    return scope


def _asks(client_id: str, scope: str) -> str:
    return f"The program {client_id} asks to act as demo-user: {scope}."
