import base64

import pytest

from csidriver.core.oauth.client_auth import authenticate
from csidriver.core.sensitive import Sensitive

SECRET = Sensitive("s:é&c")


@pytest.mark.parametrize(
    ("method", "credentials"),
    [
        pytest.param("basic", "my+app:s%3A%C3%A9%26c", id="RFC 6749 demands form encoding"),
        pytest.param("basic_raw", "my app:s:é&c", id="some servers do not decode it"),
    ],
)
def test_basic_authentication_is_a_header(method: str, credentials: str) -> None:
    authentication = authenticate(method, "my app", SECRET)
    assert authentication.form == {}
    scheme, _, value = authentication.headers["Authorization"].partition(" ")
    assert (scheme, base64.b64decode(value).decode()) == ("Basic", credentials)


def test_post_sends_the_secret_in_the_form() -> None:
    authentication = authenticate("post", "my app", SECRET)
    assert authentication.form == {"client_id": "my app", "client_secret": "s:é&c"}
    assert authentication.headers == {}


@pytest.mark.parametrize(
    ("method", "secret"), [("none", SECRET), ("basic", Sensitive("")), ("post", Sensitive(""))]
)
def test_a_public_client_sends_its_id_only(method: str, secret: Sensitive) -> None:
    authentication = authenticate(method, "my app", secret)
    assert authentication.form == {"client_id": "my app"}
    assert authentication.headers == {}


@pytest.mark.parametrize("method", ["basic", "post"])
def test_the_secret_is_not_in_the_repr(method: str) -> None:
    assert repr(authenticate(method, "my app", SECRET)) == "ClientAuthentication()"
