import json
from dataclasses import replace
from typing import Any

import pytest

from csidriver.core.oauth.issuers import Issuer
from csidriver.core.sensitive import Sensitive
from csidriver.kubectl.errors import LoginFailed
from csidriver.kubectl.login.issuer_metadata import (
    LoginEndpoints,
    choose_scope,
    parse_login_metadata,
)

ISSUER = Issuer("as", issuer="https://as.example")
METADATA = {
    "issuer": "https://as.example",
    "token_endpoint": "https://as.example/token",
    "authorization_endpoint": "https://login.as.example/authorize?x=1",
    "device_authorization_endpoint": "https://as.example/device",
    "scopes_supported": ["openid", "offline_access", 7],
    "authorization_response_iss_parameter_supported": True,
    "token_endpoint_auth_methods_supported": ["client_secret_post"],
}


def parse(configured: Issuer = ISSUER, **changes: Any) -> Any:
    return parse_login_metadata(configured, Sensitive(json.dumps({**METADATA, **changes})))


def test_the_metadata_names_the_endpoints() -> None:
    issuer, token, *pages = (str(METADATA[name]) for name in list(METADATA)[:4])
    scopes = ("openid", "offline_access")
    assert parse() == LoginEndpoints(
        issuer, token, pages[0], pages[1], scopes, sends_iss=True, client_auth="post"
    )
    bare = {"issuer": issuer, "token_endpoint": token}
    found = parse_login_metadata(ISSUER, Sensitive(json.dumps(bare)))
    assert found == LoginEndpoints(issuer, token)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"issuer": "https://as.example/"}, "of another issuer"),
        ({"token_endpoint": None}, "names no token_endpoint"),
        ({"token_endpoint": "http://as.example/token"}, "token_endpoint .* not an https"),
        ({"authorization_endpoint": "javascript:x"}, "authorization_endpoint .* not an https"),
        ({"device_authorization_endpoint": 7}, "device_authorization_endpoint .* not an https"),
    ],
)
def test_metadata_that_cannot_be_trusted_is_refused(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(LoginFailed, match=text):
        parse(**changes)


def test_an_internal_issuer_may_have_http_and_the_token_endpoint_of_the_operator_counts() -> None:
    issuer = Issuer("as", issuer="https://as.example", internal=True)
    assert parse(issuer, token_endpoint="http://as.example/t").token == "http://as.example/t"
    own = replace(issuer, token_endpoint="https://own.example/t")
    assert parse(own).token == "https://own.example/t"


def test_offline_access_is_asked_for_where_the_server_has_it() -> None:
    supported = ["openid", "offline_access"]
    assert choose_scope("", [], []) == ""
    assert choose_scope("", [], supported) == "openid offline_access"
    assert choose_scope("", ["storage.read"], supported) == "storage.read offline_access"
    assert choose_scope("", ["a", "offline_access"], supported) == "a offline_access"
    assert choose_scope("mine", ["a"], supported) == "mine"
