from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from csidriver.core.sensitive import Sensitive
from csidriver.kubectl.errors import LoginFailed
from csidriver.kubectl.login.authorization_code import CodeRequest, code_challenge
from csidriver.kubectl.login.issuer_metadata import LoginEndpoints

ISSUER = "https://as.example"
REDIRECT = "http://127.0.0.1:8000/callback"


def request(*, sends_iss: bool = True) -> CodeRequest:
    pages = f"{ISSUER}/token", f"{ISSUER}/authorize?p=b2c"
    endpoints = LoginEndpoints(ISSUER, *pages, sends_iss=sends_iss)
    params = {"access_type": "offline", "state": "of the operator", "response_type": "token"}
    return CodeRequest.new(endpoints, "my app", "openid offline_access", REDIRECT, params)


def answer(of: CodeRequest, **changes: str | None) -> Sensitive:
    found = {"code": "c1", "state": of.state.reveal(), "iss": ISSUER, **changes}
    return Sensitive(urlencode({key: text for key, text in found.items() if text is not None}))


def test_the_address_has_the_parameters_of_the_flow_and_of_the_issuer() -> None:
    sent = request()
    assert sent.url.startswith(f"{ISSUER}/authorize?p=b2c&")
    assert dict(parse_qsl(urlsplit(sent.url).query)) == {
        "p": "b2c",
        "access_type": "offline",
        "response_type": "code",
        "client_id": "my app",
        "redirect_uri": REDIRECT,
        "scope": "openid offline_access",
        "state": sent.state.reveal(),
        "code_challenge": code_challenge(sent.verifier),
        "code_challenge_method": "S256",
    }


def test_every_request_has_a_state_and_a_verifier_of_its_own() -> None:
    first, second = request(), request()
    assert first.state != second.state
    assert first.verifier != second.verifier
    assert 43 <= first.verifier.size <= 128
    assert first.verifier.reveal() not in first.url
    # RFC 7636 appendix B.
    verifier = Sensitive("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
    assert code_challenge(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"state": "other"}, "another login"),
        ({"iss": "https://evil.example"}, "not of issuer https://as.example"),
        ({"iss": None, "error": "access_denied"}, "not of issuer"),
        ({"code": None}, "neither a code nor an error"),
        ({"code": None, "error": "access_denied"}, "the login was denied"),
        ({"code": None, "error": "Planted"}, "an unknown error"),
    ],
)
def test_other_redirects_end_the_login(changes: dict[str, Any], text: str) -> None:
    sent = request()
    with pytest.raises(LoginFailed, match=text) as failure:
        sent.read_redirect(answer(sent, **changes))
    assert "Planted" not in str(failure.value)


def test_an_issuer_that_announces_no_iss_may_omit_it_but_not_send_a_wrong_one() -> None:
    sent = request(sends_iss=False)
    assert sent.read_redirect(answer(sent, iss=None)) == Sensitive("c1")
    with pytest.raises(LoginFailed, match="not of issuer"):
        sent.read_redirect(answer(sent, iss="https://evil.example"))


def test_an_answer_with_a_parameter_twice_or_bad_bytes_ends_the_login() -> None:
    sent = request()
    with pytest.raises(LoginFailed, match="twice"):
        sent.read_redirect(Sensitive(f"{answer(sent).reveal()}&code=c2"))
    with pytest.raises(LoginFailed, match="cannot be read"):
        sent.read_redirect(Sensitive("a=%ff"))


def test_the_pasted_address_brings_the_code_and_another_is_refused_and_not_quoted() -> None:
    sent = request()
    code = answer(sent, code="planted").reveal()
    for pasted in (f" {REDIRECT}?{code}\n", f"{REDIRECT}/?{code}#"):
        assert sent.read_pasted(Sensitive(pasted)) == Sensitive("planted")
    for other in (code, f"{ISSUER}/?{code}", "", f"{REDIRECT}.evil?{code}"):
        with pytest.raises(LoginFailed, match="this is not the address") as failure:
            sent.read_pasted(Sensitive(other))
        assert "planted" not in str(failure.value)
