import pytest

from csidriver.core.oauth.endpoint_url import is_host, validate_endpoint


def test_endpoint_fault_is_empty_for_what_is_fit() -> None:
    assert validate_endpoint("https://as.example/token", internal=False) == ""
    assert validate_endpoint("http://as.example:8080/token", internal=True) == ""


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://as.example/token", "internal: true"),
        ("ftp://as.example/token", "https"),
        *((f"https://{each}", "no user") for each in ("u@as", ":p@as", "as#x", "", "/token")),
        *((f"https://as.example{each}", "white space") for each in ("/to\tken", "/a b")),
        *((f"https://{each}", "is not a URL") for each in ("[::1/token", "as:99999")),
    ],
)
def test_an_endpoint_that_must_not_get_a_token_says_why(url: str, says: str) -> None:
    assert says in validate_endpoint(url, internal=False)


def test_a_host_may_have_a_port_and_nothing_else() -> None:
    assert all(map(is_host, ("as.example", "as.example:8443")))
    assert not any(map(is_host, ("a/b", "u@a", "https://a", "h:port", "", "a b")))
