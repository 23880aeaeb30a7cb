import pytest

from csidriver.demo.families import OAuthError
from csidriver.demo.http_messages import FORM, HttpRequest, read_form


def request(body: bytes, query: str = "", content_type: str = FORM) -> HttpRequest:
    return HttpRequest("POST", "/token", query, {"content-type": content_type}, body)


def test_a_form_keeps_parameters_with_a_value_only() -> None:
    assert read_form(request(b"a=1&b=&c=x+y%2B")) == {"a": "1", "c": "x y+"}
    assert read_form(request(b"a=1", content_type=f"{FORM}; charset=utf-8")) == {"a": "1"}


MANY = b"&".join(b"f%d=1" % number for number in range(33))


@pytest.mark.parametrize(
    "faulty",
    [
        *(request(body) for body in (b"a=1&a=2", b"a", b"a=%ff", MANY)),
        request(b"a=1", query="scope=x"),
        request(b"a=1", content_type="application/json"),
    ],
)
def test_other_forms_are_refused(faulty: HttpRequest) -> None:
    with pytest.raises(OAuthError, match="invalid_request"):
        read_form(faulty)
