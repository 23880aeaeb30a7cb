import re
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.login_settings import LoginSettings
from csidriver.core.oauth.token_document import TokenDocument
from csidriver.core.refresh.source import Client
from csidriver.core.sensitive import Sensitive
from csidriver.kubectl.errors import LoginFailed
from csidriver.kubectl.login.authorization_code import code_challenge
from csidriver.kubectl.login.https_request import HttpsClient
from csidriver.kubectl.login.issuer_metadata import LoginEndpoints
from csidriver.kubectl.login.login_flow import Flow, LoginPlan, choose_flow, log_in
from csidriver.kubectl.login.loopback import Redirect
from csidriver.kubectl.login.oauth_client import OAuthClient, fetch_endpoints
from tests.kubectl.login.authorization_server import (
    DEVICE,
    AuthorizationServer,
    FakeBrowser,
    FakeTerminal,
    VirtualClock,
)

ANY_PORT = Redirect("127.0.0.1", "/callback", (0,))
BOTH = LoginEndpoints("https://as", "https://as/t", "https://as/a", "https://as/d")
WEB = LoginEndpoints("https://as", "https://as/t", "https://as/a")
CODE = LoginEndpoints("https://as", "https://as/t", "", "https://as/d")


def issuer(url: str = "https://as", *, device_flow: bool | None = None, **params: str) -> Issuer:
    login = LoginSettings("cli", device_flow=device_flow, params=tuple(params.items()))
    return Issuer("as", issuer=url, internal=True, login=login)


@pytest.mark.usefixtures("browser")
def test_the_device_flow_is_chosen_where_the_issuer_has_it() -> None:
    assert choose_flow(None, issuer(), BOTH) is Flow.DEVICE
    assert choose_flow(None, issuer(device_flow=False), BOTH) is Flow.BROWSER
    assert choose_flow(None, issuer(device_flow=True), WEB) is Flow.BROWSER
    assert choose_flow(None, issuer(device_flow=False), CODE) is Flow.DEVICE
    assert choose_flow(Flow.BROWSER, issuer(device_flow=True), BOTH) is Flow.BROWSER
    assert choose_flow(Flow.DEVICE, issuer(device_flow=False), BOTH) is Flow.DEVICE


@pytest.mark.usefixtures("no_browser")
def test_a_machine_without_a_browser_asks_for_the_address() -> None:
    assert choose_flow(None, issuer(), WEB) is Flow.PASTE
    assert choose_flow(Flow.BROWSER, issuer(), WEB) is Flow.BROWSER


def test_a_way_that_the_issuer_does_not_offer_is_refused() -> None:
    with pytest.raises(LoginFailed, match="offers no login with a code; use --web"):
        choose_flow(Flow.DEVICE, issuer(), WEB)
    with pytest.raises(LoginFailed, match="offers no login in the browser; use --device"):
        choose_flow(Flow.PASTE, issuer(), CODE)
    with pytest.raises(LoginFailed, match="offers neither"):
        choose_flow(None, issuer(), LoginEndpoints("https://as", "https://as/t"))


class Login:
    """A login at a scripted server."""

    def __init__(self, server: AuthorizationServer, flow: Flow, **fields: Any) -> None:
        at = issuer(url=server.issuer, audience="api")
        https = HttpsClient()
        client = OAuthClient(https, fetch_endpoints(https, at), Client("cli", Sensitive("")))
        changed = {"redirect": ANY_PORT, "scope": "openid offline_access", **fields}
        self.plan = LoginPlan(issuer=at, client=client, flow=flow, **changed)
        self.terminal = FakeTerminal()

    def run(self) -> TokenDocument:
        return log_in(self.plan, self.terminal, VirtualClock(), "utf-8")


def test_the_device_flow_shows_code_addresses_and_time(server: AuthorizationServer) -> None:
    complete = f"{server.issuer}/go?user_code=ABCD-EFGH"
    uris = {"verification_uri": f"{server.issuer}/go", "verification_uri_complete": complete}
    for seconds, text in ((1790, "29 minutes"), (1, "1 second")):
        server.script("/device", (200, DEVICE | uris | {"expires_in": seconds}))
        login = Login(server, Flow.DEVICE)
        assert login.run().refresh_token == Sensitive("rt-1")
        said = login.terminal.text
        assert f"    {server.issuer}/go\n\nand enter the code ABCD-EFGH" in said
        assert f"compare the code:\n\n    {complete}\n" in said
        assert f"\nThe code is good for {text}.\nWaiting for the login" in said
        assert "\u2580" not in said


def test_a_terminal_gets_a_picture_of_the_address(server: AuthorizationServer) -> None:
    pytest.importorskip("segno")

    class Wide(FakeTerminal):
        is_interactive = True
        width = 80

    login = Login(server, Flow.DEVICE)
    login.terminal = Wide()
    login.run()
    assert "\u2580" in login.terminal.err.getvalue()


def test_the_browser_brings_the_code(server: AuthorizationServer, browser: FakeBrowser) -> None:
    login = Login(server, Flow.BROWSER)
    assert login.run().refresh_token == Sensitive("rt-1")
    [asked] = server.sent_to("/authorize")
    [sent] = server.sent_to("/token")
    [opened] = browser.opened
    assert f"\n    {opened}\n" in login.terminal.text
    assert asked["audience"] == "api"
    assert asked["code_challenge"] == code_challenge(Sensitive(sent.pop("code_verifier")))
    assert sent == {
        "grant_type": "authorization_code",
        "code": "code-1",
        "client_id": "cli",
        "redirect_uri": asked["redirect_uri"],
    }


def test_the_address_can_be_pasted(server: AuthorizationServer) -> None:
    callback = "http://127.0.0.1:8000/callback"
    login = Login(server, Flow.PASTE, redirect=Redirect("127.0.0.1", "/callback", (8000,)))

    class Pasting(FakeTerminal):
        def ask(self, question: str) -> str:
            self.report(question)
            [asked] = re.findall(r"http\S+/authorize\?\S+", self.text)
            state = dict(parse_qsl(urlsplit(asked).query))["state"]
            return f"{callback}?code=c&state={state}&iss={server.issuer}"

    login.terminal = Pasting()
    assert login.run().refresh_token == Sensitive("rt-1")
    assert server.sent_to("/token")[0]["redirect_uri"] == callback
    assert f"its address begins with {callback}?" in login.terminal.text


def test_a_client_without_the_device_flow_uses_the_browser_unless_told_otherwise(
    server: AuthorizationServer, browser: FakeBrowser
) -> None:
    server.script("/device", *[(400, {"error": "unauthorized_client"})] * 2)
    with pytest.raises(LoginFailed, match="may not log in this way"):
        Login(server, Flow.DEVICE, is_chosen=True).run()
    assert browser.opened == []
    assert Login(server, Flow.DEVICE).run().refresh_token == Sensitive("rt-1")
    assert len(browser.opened) == 1
