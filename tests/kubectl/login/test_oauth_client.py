import base64
from dataclasses import replace

import pytest

from csidriver.core.oauth.issuers import Issuer
from csidriver.core.refresh.source import Client
from csidriver.core.sensitive import Sensitive
from csidriver.kubectl.errors import LoginFailed
from csidriver.kubectl.login.https_request import HttpsClient
from csidriver.kubectl.login.oauth_client import OAuthClient, fetch_endpoints
from tests.kubectl.login.authorization_server import AuthorizationServer

CONFIDENTIAL = Client("app", Sensitive("s3cret"))


def issuer(server: AuthorizationServer) -> Issuer:
    return Issuer("as", issuer=server.issuer, internal=True)


def test_the_metadata_is_found_at_either_place_or_missed(server: AuthorizationServer) -> None:
    server.script("/.well-known/openid-configuration", (404, {}), (404, {}))
    server.script("/.well-known/oauth-authorization-server", (200, server.metadata))
    assert fetch_endpoints(HttpsClient(), issuer(server)).token == f"{server.issuer}/token"
    with pytest.raises(LoginFailed, match=rf"no metadata at {server.issuer} \(HTTP 404\)"):
        fetch_endpoints(HttpsClient(), issuer(server))


def test_a_token_endpoint_alone_is_not_enough() -> None:
    with pytest.raises(LoginFailed, match="issuer github has a token endpoint, but no metadata"):
        fetch_endpoints(HttpsClient(), Issuer("github", token_endpoint="https://as.example/t"))


@pytest.mark.parametrize("method", ["basic", "post"])
def test_a_confidential_client_authenticates_as_the_metadata_says(method: str) -> None:
    methods = [f"client_secret_{method}"]
    with AuthorizationServer(token_endpoint_auth_methods_supported=methods) as server:
        https = HttpsClient()
        OAuthClient(https, fetch_endpoints(https, issuer(server)), CONFIDENTIAL).redeem({"a": "b"})
    pair = base64.b64encode(b"app:s3cret").decode()
    basic = method == "basic"
    assert server.headers().get("authorization") == (f"Basic {pair}" if basic else None)
    inside = {} if basic else {"client_id": "app", "client_secret": "s3cret"}
    assert server.sent_to("/token") == [{"a": "b"} | inside]


def test_a_token_endpoint_that_the_driver_would_refuse_is_refused_at_once() -> None:
    with AuthorizationServer(token_endpoint="https://elsewhere.example/token") as server:
        with pytest.raises(LoginFailed, match=r"driver would not refresh .* endpointHosts"):
            fetch_endpoints(HttpsClient(), issuer(server))
        own = replace(issuer(server), name="")
        assert fetch_endpoints(HttpsClient(), own).token == "https://elsewhere.example/token"
        trusted = replace(issuer(server), endpoint_hosts=("elsewhere.example",))
        assert fetch_endpoints(HttpsClient(), trusted).token == "https://elsewhere.example/token"
