import contextlib
import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import requests
from oauthlib.oauth2 import WebApplicationClient

from csidriver.core.sensitive import Sensitive
from csidriver.demo.families import RegisteredClient
from csidriver.demo.issuer import StrictIssuer, serve
from csidriver.demo.jwt import verify_jwt
from tests.demo.client import TIMEOUT, grant, post, refresh
from tests.demo.grants.signing import signing_key
from tests.waiting import until

CLIENTS = [RegisteredClient("app", Sensitive("s3cret"))]


def test_reply_is_one_that_oauthlib_and_the_verifier_accept(issuer: StrictIssuer) -> None:
    seed = issuer.seed("app")
    reply = refresh(issuer, seed)
    assert reply.status_code == 200
    assert reply.headers["Cache-Control"] == "no-store"
    parsed = WebApplicationClient("app").parse_request_body_response(reply.text)
    claims = verify_jwt(parsed["access_token"], issuer.signing_key)
    assert claims is not None
    assert claims["iss"] == issuer.url
    assert (parsed["token_type"], parsed["expires_in"]) == ("Bearer", 20)
    assert issuer.presentations()[0].successor_hash == Sensitive(parsed["refresh_token"]).hash()
    assert refresh(issuer, Sensitive(parsed["refresh_token"])).status_code == 200
    assert issuer.max_presentations() == 1
    refused = refresh(issuer, seed)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    assert issuer.max_presentations() == 2


def test_metadata_is_where_both_standards_look_for_it() -> None:
    signing = RegisteredClient("signing", None, (signing_key().public_pem,))
    with StrictIssuer(clients=[*CLIENTS, signing], issuer="/realms/x") as issuer:
        root = issuer.url.removesuffix("/realms/x")
        places = (
            f"{root}/.well-known/oauth-authorization-server/realms/x",
            f"{root}/realms/x/.well-known/openid-configuration",
        )
        first, second = (requests.get(place, timeout=TIMEOUT).json() for place in places)
        assert first == second
        assert first["issuer"] == issuer.url
        assert first["token_endpoint"] == f"{issuer.url}/token"
        methods = first["token_endpoint_auth_methods_supported"]
        assert methods[2:] == ["none", "private_key_jwt"]
        assert first["token_endpoint_auth_signing_alg_values_supported"] == ["RS256", "ES256"]
        assert {"refresh_token", "client_credentials"} < set(first["grant_types_supported"])
        assert refresh(issuer, issuer.seed("app")).status_code == 200


def test_without_assertions_no_library_for_them_is_loaded() -> None:
    code = "import sys, csidriver.demo.demo, csidriver.demo.issuer; sys.exit('jwt' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 - our own program


def test_nothing_shows_a_secret(
    issuer: StrictIssuer, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(0)
    seed = issuer.seed("app")
    reply = refresh(issuer, seed).json()
    post(f"{issuer.url}/token?refresh_token={seed.reveal()}", grant(seed), auth=("app", "s3cret"))
    parts = urlsplit(issuer.url)
    with socket.create_connection((str(parts.hostname), int(parts.port or 0)), TIMEOUT) as raw:
        raw.sendall(f"GET /token?refresh_token={seed.reveal()} bad HTTP/1.1\r\n\r\n".encode())
        assert b" 400 " in raw.makefile("rb").readline()
    ours = [record.getMessage() for record in caplog.records if "urllib3" not in record.name]
    shown = repr([issuer, CLIENTS, issuer.presentations(), ours])
    shown += "".join(capfd.readouterr())
    for secret in (seed.reveal(), reply["access_token"], reply["refresh_token"], "s3cret"):
        assert secret not in shown
    assert repr(issuer.signing_key) not in shown


@contextlib.contextmanager
def serving(caplog: pytest.LogCaptureFixture, *seeds: Sensitive) -> Iterator[str]:
    stop = threading.Event()
    caplog.set_level(logging.INFO)
    caplog.clear()
    thread = threading.Thread(target=serve, args=(("127.0.0.1", 0), "", seeds, 20.0, stop))
    thread.start()
    try:
        until(lambda: caplog.messages, "the server tells its address")
        yield caplog.messages[0].rpartition(" ")[2]
    finally:
        stop.set()
        thread.join()


def test_a_restarted_server_knows_the_example_its_seeds_and_what_it_issued(
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = ("my-app", "my-app-client-secret")

    def redeem(url: str, token: str) -> requests.Response:
        return post(f"{url}/token", grant(Sensitive(token)), auth=client)

    with serving(caplog, Sensitive("another")) as url:
        assert redeem(url, "another").ok
        issued = redeem(url, "eyJhbG...").json()["refresh_token"]
    with pytest.raises(requests.ConnectionError):
        requests.get(url, timeout=TIMEOUT)
    with serving(caplog) as url:
        assert redeem(url, issued).ok
        assert not redeem(url, issued).ok, "it still works once"
