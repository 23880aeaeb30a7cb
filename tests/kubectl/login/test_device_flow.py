from typing import Any

import pytest

from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.token_document import TokenDocument
from csidriver.core.refresh.source import Client
from csidriver.core.sensitive import Sensitive
from csidriver.kubectl.errors import LoginFailed
from csidriver.kubectl.login.device_flow import (
    GRANT_TYPE,
    DeviceAuthorization,
    poll_for_tokens,
    request_device_code,
)
from csidriver.kubectl.login.https_request import HttpsClient
from csidriver.kubectl.login.oauth_client import OAuthClient, fetch_endpoints
from tests.kubectl.login.authorization_server import (
    DEVICE,
    PENDING,
    SLOW_DOWN,
    AuthorizationServer,
    VirtualClock,
)


class Session:
    """A device flow at a scripted server, on a virtual clock."""

    def __init__(self, server: AuthorizationServer) -> None:
        https = HttpsClient()
        endpoints = fetch_endpoints(https, Issuer("as", issuer=server.issuer, internal=True))
        self.client = OAuthClient(https, endpoints, Client("cli", Sensitive("")))
        self.clock = VirtualClock()
        self.said: list[str] = []

    def ask(self) -> DeviceAuthorization:
        now, params = self.clock.monotonic(), {"audience": "api"}
        return request_device_code(self.client, "a b", params, now, allow_http=True)

    def poll(self) -> TokenDocument:
        return poll_for_tokens(self.client, self.ask(), self.clock, self.said.append)


def answer(server: AuthorizationServer, **changes: Any) -> None:
    content = {**DEVICE, "verification_uri": f"{server.issuer}/go", **changes}
    kept = {key: value for key, value in content.items() if value is not None}
    server.script("/device", (200, kept))


def test_the_reply_has_code_and_addresses(server: AuthorizationServer) -> None:
    complete = f"{server.issuer}/go?user_code=ABCD-EFGH"
    answer(server, verification_uri_complete=complete)
    found = Session(server).ask()
    assert (found.user_code, found.complete_uri) == ("ABCD-EFGH", complete)
    assert found.uri == f"{server.issuer}/go"
    assert "dc-1" not in repr(found)
    sent = {"client_id": "cli", "scope": "a b", "audience": "api"}
    assert server.sent_to("/device") == [sent]
    # Google's name; and a complete address that cannot be used is left out.
    google = {"verification_uri": None, "verification_url": f"{server.issuer}/google"}
    answer(server, verification_uri_complete="file:///etc/passwd", **google)
    found = Session(server).ask()
    assert (found.uri, found.complete_uri) == (google["verification_url"], "")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"device_code": "x" * 20_000}, "no device code"),
        ({"user_code": "\x1b]0;x\x07"}, "no code that can be printed"),
        ({"verification_uri": "javascript:alert(1)"}, "verification_uri is not an http"),
    ],
)
def test_a_reply_that_cannot_be_used_ends_the_login(
    server: AuthorizationServer, changes: dict[str, Any], text: str
) -> None:
    answer(server, **changes)
    with pytest.raises(LoginFailed, match=text):
        Session(server).ask()


def test_slow_down_and_lost_connections_make_it_slower(server: AuthorizationServer) -> None:
    server.script("/token", PENDING, SLOW_DOWN, None, None, (503, b"busy"), PENDING)
    session = Session(server)
    assert session.poll().refresh_token == Sensitive("rt-1")
    poll = {"grant_type": GRANT_TYPE, "device_code": "dc-1", "client_id": "cli"}
    assert server.sent_to("/token") == [poll] * 7
    assert session.clock.waits == [1, 1, 6, 12, 24, 48, 6]
    assert session.said == ["The authorization server does not answer; waiting for it ..."]


def test_our_clock_ends_the_login_when_the_server_does_not(server: AuthorizationServer) -> None:
    for reply, text, times in (
        (PENDING, "the code has expired", 3),
        (None, "did not answer until the code expired", 2),
    ):
        server.requests.clear()
        answer(server, expires_in=30, interval=10)
        server.script("/token", *[reply] * times)
        with pytest.raises(LoginFailed, match=text):
            Session(server).poll()
        assert len(server.sent_to("/token")) == times
