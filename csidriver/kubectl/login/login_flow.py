"""The ways to log in, and the choice among them: a code for another device, or the browser here."""

from dataclasses import dataclass
from enum import Enum

from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.token_document import TokenDocument
from csidriver.core.sensitive import Sensitive
from csidriver.kubectl.errors import LoginFailed
from csidriver.kubectl.login.authorization_code import CodeRequest
from csidriver.kubectl.login.browser import has_browser, open_browser
from csidriver.kubectl.login.device_flow import (
    DeviceAuthorization,
    PollClock,
    poll_for_tokens,
    request_device_code,
)
from csidriver.kubectl.login.issuer_metadata import LoginEndpoints
from csidriver.kubectl.login.login_reply import LoginRefused
from csidriver.kubectl.login.loopback import Redirect
from csidriver.kubectl.login.oauth_client import OAuthClient
from csidriver.kubectl.login.qr_code import draw_qr_code
from csidriver.kubectl.login.redirect_listener import RedirectListener
from csidriver.kubectl.terminal import Terminal

# What a server answers if the client may not use the device flow.
_OTHER_WAY = ("unauthorized_client", "unsupported_grant_type", "device_flow_disabled")


class Flow(Enum):
    """A way to log in; the value says it to the user."""

    DEVICE = "a code that is entered in any browser"
    BROWSER = "the browser of this machine"
    PASTE = "any browser, whose last address is pasted here"


@dataclass(frozen=True, slots=True)
class LoginPlan:
    """A login that was checked and can begin. `is_chosen`: the user demanded this flow."""

    issuer: Issuer
    client: OAuthClient
    scope: str
    flow: Flow
    redirect: Redirect
    is_chosen: bool = False

    @property
    def endpoints(self) -> LoginEndpoints:
        return self.client.endpoints

    @property
    def params(self) -> dict[str, str]:
        return dict(self.issuer.login.params) if self.issuer.login else {}


def choose_flow(demanded: Flow | None, issuer: Issuer, endpoints: LoginEndpoints) -> Flow:
    """Return the demanded flow, or the best one that the issuer offers; raise LoginFailed."""
    name = issuer.name or issuer.issuer
    device, web = bool(endpoints.device_authorization), bool(endpoints.authorization)
    if demanded is Flow.DEVICE and not device:
        raise LoginFailed(f"issuer {name} offers no login with a code; use --web")
    if demanded not in (None, Flow.DEVICE) and not web:
        raise LoginFailed(f"issuer {name} offers no login in the browser; use --device")
    if demanded is not None:
        return demanded
    wished = issuer.login.device_flow if issuer.login else None
    if device and (wished is not False or not web):
        return Flow.DEVICE
    if not web:
        raise LoginFailed(f"issuer {name} offers neither a login with a code nor in the browser")
    return Flow.BROWSER if has_browser() else Flow.PASTE


def log_in(plan: LoginPlan, terminal: Terminal, clock: PollClock, encoding: str) -> TokenDocument:
    """Return the tokens of a login; raise LoginFailed if there is none."""
    if plan.flow is not Flow.DEVICE:
        return _log_in_with_browser(plan, terminal)
    now = clock.monotonic()
    try:
        authorization = request_device_code(
            plan.client, plan.scope, plan.params, now, allow_http=plan.issuer.internal
        )
    except LoginRefused as refusal:
        if plan.is_chosen or refusal.error not in _OTHER_WAY or not plan.endpoints.authorization:
            raise
        terminal.report("The client may not log in with a code; using the browser.")
        return _log_in_with_browser(plan, terminal)
    _report_code(authorization, plan, terminal, encoding)
    terminal.report(f"\nThe code is good for {_minutes(authorization.schedule.expires_at - now)}.")
    terminal.report("Waiting for the login ... (Ctrl-C to stop)")
    return poll_for_tokens(plan.client, authorization, clock, terminal.report)


def _report_code(
    authorization: DeviceAuthorization, plan: LoginPlan, terminal: Terminal, encoding: str
) -> None:
    """Print the code also where the address has it: the user compares (RFC 8628 section 3.3.1)."""
    terminal.report(f"To log in at {plan.endpoints.issuer}, open this address on any device:")
    terminal.report(f"\n    {authorization.uri}\n")
    terminal.report(f"and enter the code {authorization.user_code}")
    address = authorization.complete_uri or authorization.uri
    if authorization.complete_uri:
        terminal.report(f"\nor open this one, and compare the code:\n\n    {address}")
    if terminal.is_interactive:
        terminal.draw(draw_qr_code(address, terminal.width, encoding))


def _minutes(seconds: float) -> str:
    """Return a time in minutes, rounded down; one below two minutes in seconds."""
    # The difference of two clock readings may lack the last bit.
    minutes, rest = divmod(int(seconds + 0.01), 60)
    if minutes > 1:
        return f"{minutes} minutes"
    whole = 60 * minutes + rest
    return f"{whole} second{'' if whole == 1 else 's'}"


def _log_in_with_browser(plan: LoginPlan, terminal: Terminal) -> TokenDocument:
    # Who demanded the browser may have forwarded the port to a machine that has one.
    if plan.flow is Flow.PASTE or (plan.flow is Flow.DEVICE and not has_browser()):
        request = _code_request(plan, plan.redirect.uri(plan.redirect.ports[0]))
        return plan.client.redeem(request.token_form(_ask_for_redirect(request, terminal)))
    with RedirectListener(plan.redirect, terminal.report) as listener:
        request = _code_request(plan, listener.redirect_uri)
        opened = open_browser(request.url)
        action = "Log in in the browser. If it shows no page, open" if opened else "Open"
        terminal.report(f"{action} this address on this machine:\n\n    {request.url}\n")
        terminal.report(f"Waiting for the answer at {listener.redirect_uri} ... (Ctrl-C to stop)")
        code = request.read_redirect(listener.wait())
    return plan.client.redeem(request.token_form(code))


def _code_request(plan: LoginPlan, redirect_uri: str) -> CodeRequest:
    return CodeRequest.new(
        plan.endpoints, plan.client.client_id, plan.scope, redirect_uri, plan.params
    )


def _ask_for_redirect(request: CodeRequest, terminal: Terminal) -> Sensitive:
    terminal.report(f"Open this address in any browser and log in:\n\n    {request.url}\n")
    terminal.report(
        f"At the end the browser cannot show a page: its address begins with "
        f"{request.redirect_uri}?"
    )
    return request.read_pasted(Sensitive(terminal.ask("Paste this address here: ")))
