from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import requests

from csidriver.core.sensitive import Sensitive
from csidriver.demo.families import RegisteredClient
from csidriver.demo.issuer import StrictIssuer
from csidriver.demo.login_handler import is_loopback
from csidriver.demo.logins import DEVICE_CODE_GRANT
from tests.demo.browser import Form, open_form
from tests.demo.client import TIMEOUT, grant, post
from tests.demo.test_logins import CALLBACK, CHALLENGE, VERIFIER

REQUEST = {
    "response_type": "code",
    "client_id": "public",
    "redirect_uri": CALLBACK,
    "scope": "offline_access email",
    "state": "a state & more",
    "code_challenge": CHALLENGE,
    "code_challenge_method": "S256",
}


@pytest.fixture
def issuer() -> Iterator[StrictIssuer]:
    with StrictIssuer(clients=[RegisteredClient("public", None)], issuer="/realms/x") as running:
        running.logins.interval = 0
        yield running


def metadata(issuer: StrictIssuer) -> Any:
    place = f"{issuer.url}/.well-known/openid-configuration"
    return requests.get(place, timeout=TIMEOUT).json()


def start_device(issuer: StrictIssuer, scope: str = "") -> requests.Response:
    form = {"client_id": "public", "scope": scope}
    return post(metadata(issuer)["device_authorization_endpoint"], form)


def redeem(issuer: StrictIssuer, **form: str) -> requests.Response:
    return post(metadata(issuer)["token_endpoint"], {"client_id": "public", **form})


def redeem_device(issuer: StrictIssuer, login: Mapping[str, str]) -> requests.Response:
    return redeem(issuer, grant_type=DEVICE_CODE_GRANT, device_code=login["device_code"])


def ask(issuer: StrictIssuer, **changes: str) -> requests.Response:
    url = f"{metadata(issuer)['authorization_endpoint']}?{urlencode({**REQUEST, **changes})}"
    return requests.get(url, timeout=TIMEOUT, allow_redirects=False)


def redirected(reply: requests.Response, to: str = CALLBACK) -> dict[str, str]:
    assert reply.status_code == 303
    location = reply.headers["Location"]
    assert location.startswith(to)
    return {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}


def assert_rotates(issuer: StrictIssuer, reply: requests.Response, scope: str) -> None:
    assert reply.status_code == 200
    assert reply.json()["scope"] == scope
    again = redeem(issuer, **grant(Sensitive(reply.json()["refresh_token"])))
    assert (again.status_code, again.json()["scope"]) == (200, scope)


def test_the_user_types_the_code_and_the_device_gets_a_token(issuer: StrictIssuer) -> None:
    login = start_device(issuer, scope="email").json()
    assert redeem_device(issuer, login).json()["error"] == "authorization_pending"
    form = open_form(login["verification_uri"])
    refused = form.press("allow", user_code="BBBB-BBBB")
    assert (refused.status_code, "unknown, used or expired" in refused.text) == (400, True)
    allowed = Form(refused).press("allow", user_code=login["user_code"].lower())
    assert "Allowed" in allowed.text
    assert_rotates(issuer, redeem_device(issuer, login), "email")
    assert redeem_device(issuer, login).json()["error"] == "invalid_grant"


def test_the_complete_address_shows_the_code_and_who_asks(issuer: StrictIssuer) -> None:
    assert start_device(issuer, scope="admin").json()["error"] == "invalid_scope"
    login = start_device(issuer).json()
    page = requests.get(login["verification_uri_complete"], timeout=TIMEOUT)
    assert "The program public asks to act as demo-user" in page.text
    form = Form(page)
    assert form.fields == {"user_code": login["user_code"]}
    assert "Denied" in form.press("deny").text
    assert redeem_device(issuer, login).json()["error"] == "access_denied"


def test_the_page_sends_the_code_to_loopback(issuer: StrictIssuer) -> None:
    given = redirected(Form(ask(issuer)).press("allow"))
    assert (given["state"], given["iss"]) == (REQUEST["state"], issuer.url)
    assert metadata(issuer)["authorization_response_iss_parameter_supported"] is True
    code = {"grant_type": "authorization_code", "code": given["code"]}
    code |= {"redirect_uri": CALLBACK, "code_verifier": VERIFIER}
    assert_rotates(issuer, redeem(issuer, **code), "offline_access email")
    assert redeem(issuer, **code).json()["error"] == "invalid_grant"


def test_an_address_alone_allows_nothing(issuer: StrictIssuer) -> None:
    asked = ask(issuer, decision="allow")
    assert asked.status_code == 200
    assert "decision" not in Form(asked).fields
    denied = {"error": "access_denied", "state": REQUEST["state"], "iss": issuer.url}
    assert redirected(Form(asked).press("deny")) == denied
    login = start_device(issuer).json()
    allowing = f"{login['verification_uri_complete']}&decision=allow"
    assert requests.get(allowing, timeout=TIMEOUT).status_code == 200
    assert redeem_device(issuer, login).json()["error"] == "authorization_pending"


def test_a_faulty_request_is_redirected(issuer: StrictIssuer) -> None:
    implicit = {"response_type": "token", "redirect_uri": "http://[::1]:9/?a=b"}
    given = redirected(ask(issuer, **implicit), "http://[::1]:9")
    assert (given["error"], given["a"]) == ("unsupported_response_type", "b")
    assert redirected(ask(issuer, scope="admin"))["error"] == "invalid_scope"
    plain = redirected(ask(issuer, code_challenge_method="plain"))
    assert plain["error"] == "invalid_request"


def test_nothing_is_redirected_for_a_stranger(issuer: StrictIssuer) -> None:
    for changes in ({"client_id": "nobody"}, {"redirect_uri": "https://evil.example/"}):
        for reply in (ask(issuer, **changes), Form(ask(issuer)).press("allow", **changes)):
            assert reply.status_code == 400
            assert "Location" not in reply.headers


def test_only_loopback_gets_codes() -> None:
    for uri in ("http://127.0.0.1:8000/callback?x=y", "http://localhost:18000"):
        assert is_loopback(uri)
    for uri in (
        "https://127.0.0.1:8000/",
        "http://127.0.0.1.evil.example/",
        "http://evil.example\\@127.0.0.1/",
        "http://127.0.0.1:8000/#fragment",
        "http://127.0.0.1:8000/\r\nSet-Cookie: x",
        "http://[::1/",
    ):
        assert not is_loopback(uri), uri
