"""Forms and credentials of requests, bytes of replies."""

from base64 import b64encode

import pytest

from csidriver.core.sensitive import Sensitive
from csidriver.demo.families import OAuthError
from csidriver.demo.http_messages import (
    FORM,
    HttpRequest,
    json_reply,
    read_credentials,
    read_fields,
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


def test_audience_and_resource_may_be_repeated() -> None:
    form = read_form(request(b"audience=a&resource=r&audience=b&audience="))
    assert form.every("audience") == ("a", "b")
    assert (form.every("resource"), form.every("scope")) == (("r",), ())


def test_a_query_is_parsed_as_a_form_is() -> None:
    assert read_fields("user_code=BCDF-GHJK&state=") == {"user_code": "BCDF-GHJK"}
    assert read_fields("") == {}
    with pytest.raises(OAuthError, match="do not parse"):
        read_fields("state=ü")


def test_both_halves_of_basic_credentials_are_form_encoded() -> None:
    header = "Basic " + b64encode(b"a%3Ab:p%25+w").decode()
    assert read_credentials(header, {}) == ("a:b", Sensitive("p% w"))


def test_no_cache_may_store_a_json_reply() -> None:
    reply = json_reply({"a": 1}, 400, {"X": "y"})
    assert (reply.status, reply.body) == (400, b'{"a": 1}')
    assert (reply.headers["Cache-Control"], reply.headers["X"]) == ("no-store", "y")
