import pytest

from csidriver.kubectl.errors import LoginFailed
from csidriver.kubectl.login import server_text


@pytest.mark.parametrize("code", [None, "", "a" * 65, "\x1b[2J", "a\nb", "a\u202eb", "\x9b2J"])
def test_only_a_code_that_can_be_printed_is_one(code: object) -> None:
    assert server_text.user_code("ÄBCD-EF 12") == "ÄBCD-EF 12"
    with pytest.raises(LoginFailed, match="no code that can be printed"):
        server_text.user_code(code)


@pytest.mark.parametrize(
    "url",
    [
        *(None, "", "javascript:alert(1)", "https://", "as.example", "https://[::1"),
        *("https://as.example/\x1b[2J", "https://as.example/a b", "https://as.example/`x`"),
        *("https://as.example/\n", "https://as.example/ü", "https://user:pw@as.example/"),
        *("http://as.example/go", "https://as.example/" + "a" * 2048, "https://as.example/#x"),
    ],
)
def test_other_addresses_are_refused(url: object) -> None:
    with pytest.raises(LoginFailed, match="verification_uri is not an https address"):
        server_text.web_address(url, "verification_uri", allow_http=False)


def test_http_is_for_issuers_that_may_have_it() -> None:
    assert server_text.is_web_address("https://as.example:8443/go?a=A-B", allow_http=False)
    assert server_text.is_web_address("http://as.example/go", allow_http=True)
    with pytest.raises(LoginFailed, match="is not an http or https address"):
        server_text.web_address("ftp://as.example/go", "verification_uri", allow_http=True)


@pytest.mark.parametrize("error", [None, "", "Denied", "eyJhbGciOi.x.y", "a" * 17, "a b", "a\n"])
def test_only_what_is_like_an_error_code_is_quoted(error: object) -> None:
    assert server_text.quote_error("authorization_declined") == '"authorization_declined"'
    assert server_text.quote_error(error) == "an unknown error"
