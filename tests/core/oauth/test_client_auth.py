import base64

import pytest

from csidriver.core.oauth.client_auth import ClientAuthentication, authenticate, present_assertion
from csidriver.core.sensitive import Sensitive

SECRET = Sensitive("s%3A+ :/&=ü")


@pytest.mark.parametrize(
    ("method", "pair"),
    [
        ("basic", "a%25p+%2B%3A%C3%BC:s%253A%2B+%3A%2F%26%3D%C3%BC"),
        ("basic_raw", "a%p +:ü:s%3A+ :/&=ü"),
    ],
)
def test_basic_credentials_are_form_encoded_unless_raw(method: str, pair: str) -> None:
    auth = authenticate(method, "a%p +:ü", SECRET)
    scheme, _, encoded = auth.headers["Authorization"].partition(" ")
    assert (scheme, base64.b64decode(encoded).decode()) == ("Basic", pair)
    assert auth.form == {}


def test_post_sends_the_secret_in_the_form() -> None:
    form = {"client_id": "app", "client_secret": SECRET.reveal()}
    assert authenticate("post", "app", SECRET) == ClientAuthentication(form)


@pytest.mark.parametrize("method", ["basic", "basic_raw", "post", "none"])
def test_a_public_client_only_sends_its_name(method: str) -> None:
    expected = ClientAuthentication({"client_id": "app"})
    assert authenticate(method, "app", Sensitive("")) == expected
    assert authenticate("none", "app", SECRET) == expected
    assert repr(authenticate(method, "app", SECRET)) == "ClientAuthentication()"


def test_an_assertion_goes_with_its_type_and_the_client() -> None:
    fields = {"client_assertion_type": "urn:x", "client_assertion": SECRET.reveal()}
    assert present_assertion("app", "urn:x", SECRET).form == {"client_id": "app"} | fields
    assert present_assertion("", "urn:x", SECRET) == ClientAuthentication(fields)
