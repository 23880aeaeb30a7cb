import json
from typing import Any

import pytest

from csidriver.core.oauth.discovery import (
    Endpoints,
    MetadataError,
    answers_probe,
    configured_endpoints,
    metadata_urls,
    parse_metadata,
)
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.sensitive import Sensitive

ISSUER = Issuer("meta", issuer="https://as.example")
TOKEN = "https://as.example/t"
OTHER = "https://other.example/t"


def parsed(configured: Issuer = ISSUER, /, **fields: Any) -> Endpoints:
    document = {"issuer": "https://as.example", "token_endpoint": TOKEN, **fields}
    return parse_metadata(configured, Sensitive(json.dumps(document)))


def test_configured_endpoints_need_no_metadata() -> None:
    assert configured_endpoints(ISSUER) is None
    assert configured_endpoints(Issuer("x", token_endpoint=TOKEN)) == Endpoints(TOKEN, "basic")
    full = Issuer("x", token_endpoint=TOKEN, client_auth="post", introspection_endpoint=OTHER)
    assert configured_endpoints(full) == Endpoints(TOKEN, "post", OTHER)


@pytest.mark.parametrize("path", ["", "/realms/x"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_metadata_is_before_or_behind_the_path(path: str, slash: str) -> None:
    assert metadata_urls(Issuer("x", issuer=f"https://as.example{path}{slash}")) == [
        f"https://as.example{path}/.well-known/openid-configuration",
        f"https://as.example/.well-known/oauth-authorization-server{path}",
    ]


@pytest.mark.parametrize(
    "fields",
    [
        {"issuer": "https://else.where"},
        {"issuer": "https://as.example/"},
        {"token_endpoint": OTHER},
        {"token_endpoint": "http://as.example/t"},
    ],
    ids=repr,
)
def test_metadata_that_does_not_match_the_issuer_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(MetadataError) as caught:
        parsed(**fields)
    assert "example" not in str(caught.value)


def test_metadata_that_is_not_a_json_object_is_refused() -> None:
    with pytest.raises(MetadataError, match="not a JSON object"):
        parse_metadata(ISSUER, Sensitive("[]"))


@pytest.mark.parametrize(
    ("hosts", "endpoint", "used"),
    [
        ([], "https://as.example:6443/t", False),
        (["as.example:6443"], "https://as.example:6443/t", True),
        (["other.example"], OTHER, True),
        (["other.example"], "https://other.example:6443/t", False),
    ],
)
def test_another_host_or_port_must_be_configured(
    hosts: list[str], endpoint: str, *, used: bool
) -> None:
    issuer = Issuer("meta", issuer="https://as.example", endpoint_hosts=tuple(hosts))
    introspection = parsed(issuer, introspection_endpoint=endpoint).introspection
    assert introspection == (endpoint if used else "")
    if used:
        assert parsed(issuer, token_endpoint=endpoint).token == endpoint
        return
    with pytest.raises(MetadataError, match="token_endpoint"):
        parsed(issuer, token_endpoint=endpoint)


@pytest.mark.parametrize(
    ("offered", "method"),
    [
        (None, "basic"),
        (["client_secret_basic", "client_secret_post"], "basic"),
        (["client_secret_post"], "post"),
        (["private_key_jwt"], "basic"),
        ("client_secret_post", "basic"),
    ],
    ids=repr,
)
def test_the_method_is_one_that_metadata_offers_unless_it_is_configured(
    offered: object, method: str
) -> None:
    fields = {} if offered is None else {"token_endpoint_auth_methods_supported": offered}
    assert parsed(**fields).client_auth == method
    configured = Issuer("meta", issuer="https://as.example", client_auth="basic_raw")
    assert parsed(configured, **fields).client_auth == "basic_raw"


@pytest.mark.parametrize("endpoint", [OTHER, "ftp://as.example/i", "", [TOKEN]], ids=repr)
def test_a_bad_introspection_endpoint_is_not_used(endpoint: object) -> None:
    found = parsed(introspection_endpoint=endpoint)
    assert (found.token, found.introspection) == (TOKEN, "")
    assert found.introspection_fault


@pytest.mark.parametrize(
    ("status", "body", "found"),
    [(200, "{}", True), (200, "<html>", False), (400, "", True), (500, "{}", False)],
)
def test_only_the_server_itself_answers_a_probe(status: int, body: str, *, found: bool) -> None:
    assert answers_probe(status, Sensitive(body)) is found
