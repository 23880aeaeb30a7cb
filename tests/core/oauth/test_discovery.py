import json
from dataclasses import replace
from typing import Any

import pytest

from csidriver.core.oauth.discovery import (
    Endpoints,
    MetadataError,
    configured_endpoints,
    metadata_urls,
    parse_metadata,
)
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.sensitive import Sensitive

ISSUER = Issuer("cern", "https://as.example/realms/x")
TOKEN = "https://as.example/token"
METADATA = {"issuer": ISSUER.issuer, "token_endpoint": TOKEN}


def parsed(change: dict[str, Any], issuer: Issuer = ISSUER) -> Endpoints:
    return parse_metadata(issuer, Sensitive(json.dumps(METADATA | change)))


def test_a_configured_token_endpoint_needs_no_metadata() -> None:
    assert configured_endpoints(ISSUER) is None
    issuer = Issuer("x", token_endpoint=TOKEN, introspection_endpoint="https://as.example/i")
    assert configured_endpoints(issuer) == Endpoints(TOKEN, "basic", "https://as.example/i")
    assert configured_endpoints(replace(issuer, client_auth="post")) == Endpoints(
        TOKEN, "post", "https://as.example/i"
    )


@pytest.mark.parametrize("path", ["", "/realms/x", "/realms/x/"])
def test_metadata_is_where_openid_connect_or_rfc_8414_say(path: str) -> None:
    without_slash = path.rstrip("/")
    assert metadata_urls(Issuer("x", f"https://as.example:8443{path}")) == [
        f"https://as.example:8443{without_slash}/.well-known/openid-configuration",
        f"https://as.example:8443/.well-known/oauth-authorization-server{without_slash}",
    ]


@pytest.mark.parametrize(
    ("offered", "method"),
    [
        pytest.param(["client_secret_post", "client_secret_basic"], "basic", id="both"),
        pytest.param(["client_secret_post"], "post", id="post"),
        pytest.param(["private_key_jwt"], "basic", id="neither"),
        pytest.param("client_secret_post", "basic", id="not a list"),
    ],
)
def test_the_method_is_one_that_metadata_offers(offered: Any, method: str) -> None:
    change = {"token_endpoint_auth_methods_supported": offered}
    assert parsed({}) == Endpoints(TOKEN, "basic")
    assert parsed(change) == Endpoints(TOKEN, method)
    assert parsed(change, replace(ISSUER, client_auth="none")) == Endpoints(TOKEN, "none")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        pytest.param({"issuer": f"{ISSUER.issuer}/"}, "issuer", id="another issuer"),
        pytest.param({"token_endpoint": None}, "token_endpoint is missing", id="no endpoint"),
        pytest.param({"token_endpoint": "http://as.example/t"}, "https", id="plain text"),
        pytest.param({"token_endpoint": "https://b.example/t"}, "endpointHosts", id="other host"),
    ],
)
def test_metadata_that_does_not_fit_is_refused(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(MetadataError, match=problem) as caught:
        parsed(change)
    assert "example" not in str(caught.value)


@pytest.mark.parametrize("body", ["", "<html>", "[]", "[" * 100_000])
def test_metadata_is_a_json_object(body: str) -> None:
    with pytest.raises(MetadataError, match="JSON object"):
        parse_metadata(ISSUER, Sensitive(body))


def test_a_listed_host_may_have_the_endpoints() -> None:
    issuer = replace(ISSUER, endpoint_hosts=("b.example",))
    change = {
        "token_endpoint": "https://b.example/t",
        "introspection_endpoint": "https://b.example/i",
    }
    assert parsed(change, issuer) == Endpoints(
        "https://b.example/t", "basic", "https://b.example/i"
    )


def test_an_introspection_endpoint_that_does_not_fit_is_left_out() -> None:
    endpoints = parsed({"introspection_endpoint": "https://b.example/i"})
    assert endpoints.introspection == ""
    assert "endpointHosts" in endpoints.introspection_fault
