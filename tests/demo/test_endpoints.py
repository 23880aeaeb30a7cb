"""Client authentication, malformed requests and limits, over real HTTP."""

import socket
from base64 import b64encode
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote_plus, urlsplit

import pytest
import requests

from csidriver.core.sensitive import Sensitive
from csidriver.demo.families import RegisteredClient
from csidriver.demo.issuer import StrictIssuer

ODD_ID, ODD_SECRET = "a:b+c%d", "p%+w:x y%41/ü"
CLIENTS = [
    RegisteredClient("app", Sensitive("s3cret")),
    RegisteredClient(ODD_ID, Sensitive(ODD_SECRET)),
    RegisteredClient("public", None),
]
TIMEOUT = 10.0  # seconds; only a defect waits for it


@pytest.fixture
def issuer() -> Iterator[StrictIssuer]:
    with StrictIssuer(clients=CLIENTS) as running:
        yield running


def post(url: str, form: Any, **options: Any) -> requests.Response:
    return requests.post(url, data=form, timeout=TIMEOUT, allow_redirects=False, **options)


def grant(token: Sensitive, **fields: str) -> dict[str, str]:
    return {"grant_type": "refresh_token", "refresh_token": token.reveal(), **fields}


def refresh(issuer: StrictIssuer, token: Sensitive) -> requests.Response:
    return post(f"{issuer.url}/token", grant(token), auth=("app", "s3cret"))


def basic(client_id: str, secret: str, *, encoded: bool = True) -> dict[str, str]:
    if encoded:
        client_id, secret = quote_plus(client_id), quote_plus(secret)
    return {"Authorization": "Basic " + b64encode(f"{client_id}:{secret}".encode()).decode()}


@pytest.mark.parametrize(
    ("client", "headers", "fields"),
    [
        ("app", basic("app", "s3cret"), {}),
        ("app", basic("app", "s3cret"), {"client_id": "app"}),
        ("app", {}, {"client_id": "app", "client_secret": "s3cret"}),
        (ODD_ID, basic(ODD_ID, ODD_SECRET), {}),
        (ODD_ID, {}, {"client_id": ODD_ID, "client_secret": ODD_SECRET}),
        ("public", {}, {"client_id": "public"}),
    ],
    ids=["basic", "basic and same id", "post", "odd basic", "odd post", "public"],
)
def test_client_authentication_methods(
    issuer: StrictIssuer, client: str, headers: dict[str, str], fields: dict[str, str]
) -> None:
    form = grant(issuer.seed(client), **fields)
    assert post(f"{issuer.url}/token", form, headers=headers).status_code == 200
    assert issuer.presentations()[-1].client_id == client


@pytest.mark.parametrize(
    ("headers", "fields"),
    [
        (basic("app", "wrong"), {}),
        (basic(ODD_ID, ODD_SECRET, encoded=False), {}),
        (basic("nobody", "s3cret"), {}),
        (basic("public", ""), {}),
        ({"Authorization": "Basic !!!"}, {}),
        ({"Authorization": "Bearer s3cret"}, {}),
        ({}, {"client_id": "app", "client_secret": "wrong"}),
        ({}, {"client_id": "app"}),
        ({}, {"client_id": "public", "client_secret": "any"}),
        ({}, {"client_secret": "s3cret"}),
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
    (row,) = issuer.presentations()
    assert (row.token_hash, row.outcome) == (seed.hash(), "invalid_client")
    assert refresh(issuer, seed).status_code == 200


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"client_secret": "s3cret"}, "invalid_request"),
        ({"client_id": "public"}, "invalid_request"),
        ({"refresh_token": ""}, "invalid_request"),
        ({"grant_type": ""}, "invalid_request"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"scope": "openid admin"}, "invalid_scope"),
    ],
    ids=["two methods", "two ids", "no token", "no grant type", "other grant", "wide scope"],
)
def test_faulty_requests_spend_nothing(
    issuer: StrictIssuer, change: dict[str, str], error: str
) -> None:
    seed = issuer.seed("app")
    form = {**grant(seed), **change}
    refused = post(f"{issuer.url}/token", form, headers=basic("app", "s3cret"))
    assert (refused.status_code, refused.json()["error"]) == (400, error)
    assert refresh(issuer, seed).status_code == 200


@pytest.mark.parametrize(
    ("content_type", "query", "suffix"),
    [
        ("application/json", "", ""),
        ("", "", ""),
        ("application/x-www-form-urlencoded", "?scope=email", ""),
        ("application/x-www-form-urlencoded", "", "&refresh_token=another"),
        ("application/x-www-form-urlencoded", "", "&scope=%ff"),
        ("application/x-www-form-urlencoded", "", "&scope"),
    ],
    ids=["json", "no type", "query", "repeated", "not UTF-8", "no equals sign"],
)
def test_only_one_clean_form_is_accepted(
    issuer: StrictIssuer, content_type: str, query: str, suffix: str
) -> None:
    seed = issuer.seed("app")
    body = f"grant_type=refresh_token&refresh_token={seed.reveal()}{suffix}"
    headers = {"Content-Type": content_type} if content_type else {}
    url = f"{issuer.url}/token{query}"
    refused = post(url, body.encode(), headers=headers, auth=("app", "s3cret"))
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request")
    row = issuer.presentations()[0]
    assert (row.token_hash, row.outcome) == (seed.hash(), "invalid_request")
    assert refresh(issuer, seed).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/token", 405, "POST"),
        ("HEAD", "/token", 405, "POST"),
        ("DELETE", "/introspect", 405, "POST"),
        ("PUT", "/.well-known/openid-configuration", 405, "GET"),
        ("GET", "/", 404, None),
        ("POST", "/token/", 404, None),
    ],
)
def test_other_paths_and_methods(
    issuer: StrictIssuer, method: str, path: str, status: int, allow: str | None
) -> None:
    reply = requests.request(method, issuer.url + path, data=b"", timeout=TIMEOUT)
    assert (reply.status_code, reply.headers.get("Allow")) == (status, allow)


def test_body_limit_is_64_kib(issuer: StrictIssuer) -> None:
    seed = issuer.seed("app")
    start = f"grant_type=refresh_token&refresh_token={seed.reveal()}&padding="
    limit = 64 * 1024
    refused = {}
    for size in (limit + 1, 10 * limit, limit):
        body = start.ljust(size, "x").encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        reply = post(f"{issuer.url}/token", body, headers=headers, auth=("app", "s3cret"))
        refused[size] = reply.status_code
    assert refused == {limit + 1: 413, 10 * limit: 413, limit: 200}


@pytest.mark.parametrize(
    ("header", "status"),
    [("Transfer-Encoding: chunked", 411), ("X: y", 411), ("Content-Length: -1", 400)],
)
def test_bodies_of_unclear_length_are_refused(
    issuer: StrictIssuer, header: str, status: int
) -> None:
    parts = urlsplit(issuer.url)
    with socket.create_connection((str(parts.hostname), int(parts.port or 0)), TIMEOUT) as raw:
        raw.sendall(f"POST /token HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n".encode())
        assert raw.makefile("rb").readline().split()[1] == str(status).encode()


def test_half_a_body_is_not_handled(issuer: StrictIssuer) -> None:
    seed, parts = issuer.seed("public"), urlsplit(issuer.url)
    form = f"grant_type=refresh_token&client_id=public&refresh_token={seed.reveal()}"
    head = "POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded"
    with socket.create_connection((str(parts.hostname), int(parts.port or 0)), TIMEOUT) as raw:
        raw.sendall(f"{head}\r\nContent-Length: {len(form) + 1}\r\n\r\n{form}".encode())
        raw.shutdown(socket.SHUT_WR)
        assert raw.recv(1) == b""
    assert issuer.presentations() == ()
