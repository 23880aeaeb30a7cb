from base64 import b64encode

import pytest

from csidriver.core.sensitive import Sensitive
from csidriver.demo.families import OAuthError
from csidriver.demo.http_messages import (
    FORM,
    HttpRequest,
    read_credentials,
    read_form,
)


def request(body: bytes, query: str = "", content_type: str = FORM) -> HttpRequest:
    return HttpRequest("POST", "/token", query, {"content-type": content_type}, body)


def test_a_form_keeps_parameters_with_a_value_only() -> None:
    assert read_form(request(b"a=1&b=&c=x+y%2B")) == {"a": "1", "c": "x y+"}
    assert read_form(request(b"a=1", content_type=f"{FORM}; charset=utf-8")) == {"a": "1"}


@pytest.mark.parametrize(
    "faulty",
    [
        request(b"a=1", query="scope=x"),
        request(b"a=1", content_type="application/json"),
        request(b"a=1&a=2"),
        request(b"a=1&a="),
        request(b"a"),
        request(b"a=%ff"),
        request(b"&".join(b"f%d=1" % number for number in range(33))),
    ],
    ids=[
        "query",
        "json",
        "repeated",
        "repeated without a value",
        "no equals sign",
        "no UTF-8",
        "too many",
    ],
)
def test_other_forms_are_refused(faulty: HttpRequest) -> None:
    with pytest.raises(OAuthError) as error:
        read_form(faulty)
    assert error.value.error == "invalid_request"


def test_both_halves_of_basic_credentials_are_form_encoded() -> None:
    header = "Basic " + b64encode(b"a%3Ab:p%25+w").decode()
    assert read_credentials(header, {}) == ("a:b", Sensitive("p% w"))
