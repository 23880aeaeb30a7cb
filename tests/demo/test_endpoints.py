import time
from base64 import b64encode
from collections.abc import Iterator
from urllib.parse import quote_plus

import pytest
import requests

from csidriver.core.sensitive import Sensitive
from csidriver.demo.families import RegisteredClient
from csidriver.demo.issuer import StrictIssuer
from tests.demo.client import TIMEOUT, grant, post, refresh
from tests.demo.grants.signing import assertion_fields, signing_key

ODD_ID, ODD_SECRET = "a:b+c%d", "p%+w:x y%41/ü"
CLIENTS = [
    RegisteredClient("app", Sensitive("s3cret")),
    RegisteredClient(ODD_ID, Sensitive(ODD_SECRET)),
    RegisteredClient("public", None),
    RegisteredClient("signing", None, (signing_key().public_pem,)),
]


@pytest.fixture
def issuer() -> Iterator[StrictIssuer]:
    with StrictIssuer(clients=CLIENTS) as running:
        yield running


def basic(client_id: str, secret: str) -> dict[str, str]:
    pair = f"{quote_plus(client_id)}:{quote_plus(secret)}".encode()
    return {"Authorization": "Basic " + b64encode(pair).decode()}


def test_client_authentication_methods(issuer: StrictIssuer) -> None:
    for client, headers, fields in (
        ("app", basic("app", "s3cret"), {"client_id": "app"}),
        (ODD_ID, basic(ODD_ID, ODD_SECRET), {}),
        (ODD_ID, {}, {"client_id": ODD_ID, "client_secret": ODD_SECRET}),
        ("public", {}, {"client_id": "public"}),
    ):
        form = grant(issuer.seed(client), **fields)
        assert post(f"{issuer.url}/token", form, headers=headers).ok
        assert issuer.presentations()[-1].client_id == client


@pytest.mark.parametrize(
    ("headers", "fields"),
    [
        (basic("app", "wrong"), {}),
        ({"Authorization": "Basic !!!"}, {}),
        ({}, {"client_id": "app"}),
        ({}, {"client_id": "public", "client_secret": "any"}),
        ({}, assertion_fields("no.jwt")),
        ({}, {}),
    ],
)
def test_failed_client_authentication_spends_nothing(
    issuer: StrictIssuer, headers: dict[str, str], fields: dict[str, str]
) -> None:
    seed = issuer.seed("app")
    refused = post(f"{issuer.url}/token", grant(seed, **fields), headers=headers)
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
    assert ("WWW-Authenticate" in refused.headers) == bool(headers)
    assert refresh(issuer, seed).status_code == 200


def test_faulty_requests_spend_nothing(issuer: StrictIssuer) -> None:
    seed = issuer.seed("app")
    faults = {
        "invalid_request": {"client_secret": "s3cret"},
        "unsupported_grant_type": {"grant_type": "password"},
        "invalid_scope": {"scope": "openid admin"},
    }
    for error, change in faults.items():
        form = {**grant(seed), **change}
        refused = post(f"{issuer.url}/token", form, auth=("app", "s3cret"))
        assert (refused.status_code, refused.json()["error"]) == (400, error)
    assert refresh(issuer, seed).status_code == 200


def test_other_paths_and_methods_are_refused(issuer: StrictIssuer) -> None:
    put = requests.put(f"{issuer.url}/device", data=b"", timeout=TIMEOUT)
    assert (put.status_code, put.headers["Allow"]) == (405, "GET, POST")
    assert post(f"{issuer.url}/token/", {}).status_code == 404


def test_a_client_authenticates_with_an_assertion_and_refreshes(issuer: StrictIssuer) -> None:
    seed = issuer.seed("signing")
    assertion = signing_key().own_assertion("signing", issuer.url, time.time())
    form = grant(seed, **assertion_fields(assertion, client_id="signing"))
    assert post(f"{issuer.url}/token", form).ok
    assert post(f"{issuer.url}/token", form).json()["error"] == "invalid_client"
    assert [row.outcome for row in issuer.presentations()] == ["rotated"]
