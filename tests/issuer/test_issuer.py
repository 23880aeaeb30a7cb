"""What the authorization server of the tests has besides that of the demo, over real HTTP."""

from collections.abc import Iterator

import pytest
import requests

from csidriver.core.sensitive import Sensitive
from csidriver.demo.families import RegisteredClient
from tests.demo.client import TIMEOUT, post, refresh
from tests.issuer.faults import DropAfter, DropBefore, StatusReply
from tests.issuer.issuer import ScriptedIssuer
from tests.issuer.policy import Policy

CLIENTS = [
    RegisteredClient("app", Sensitive("s3cret")),
]
CREDENTIALS = {"grant_type": "client_credentials"}


@pytest.fixture
def issuer() -> Iterator[ScriptedIssuer]:
    with ScriptedIssuer(clients=CLIENTS) as running:
        yield running


def test_introspection_tells_and_does_not_consume(issuer: ScriptedIssuer) -> None:
    seed = issuer.seed("app")
    metadata = requests.get(
        f"{issuer.url}/.well-known/oauth-authorization-server", timeout=TIMEOUT
    ).json()
    url = metadata["introspection_endpoint"]
    auth = ("app", "s3cret")
    for _ in range(3):
        assert post(url, {"token": seed.reveal()}, auth=auth).json()["active"] is True
    assert refresh(issuer, seed).status_code == 200
    assert post(url, {"token": seed.reveal()}, auth=auth).json() == {"active": False}
    assert len(issuer.presentations()) == 1


def test_stopped_and_started_again_it_remembers() -> None:
    issuer = ScriptedIssuer(clients=CLIENTS, policy=Policy(lifetime=7))
    seed = issuer.seed("app")
    with issuer:
        url = issuer.url
        second = Sensitive(refresh(issuer, seed).json()["refresh_token"])
    issuer.stop()
    with pytest.raises(requests.ConnectionError):
        refresh(issuer, second)
    with issuer:
        assert issuer.url == url
        assert refresh(issuer, second).json()["expires_in"] == 7


@pytest.mark.parametrize(
    ("auth", "suffix", "outcome"),
    [
        (("app", "wrong"), "", "invalid_client"),
        (("app", "s3cret"), "&refresh_token=another", "invalid_request"),
    ],
)
def test_a_refused_request_is_logged_with_its_token(
    issuer: ScriptedIssuer, auth: tuple[str, str], suffix: str, outcome: str
) -> None:
    seed = issuer.seed("app")
    body = f"grant_type=refresh_token&refresh_token={seed.reveal()}{suffix}"
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert not post(f"{issuer.url}/token", body, headers=headers, auth=auth).ok
    row = issuer.presentations()[0]
    assert (row.token_hash, row.outcome) == (seed.hash(), outcome)


def test_token_requests_without_a_refresh_token_are_logged_however_they_end(
    issuer: ScriptedIssuer,
) -> None:
    issuer.add_faults(StatusReply(503), DropAfter(), DropBefore())
    url, auth = f"{issuer.url}/token", ("app", "s3cret")
    assert post(url, CREDENTIALS, auth=auth).status_code == 503
    for _ in range(2):
        with pytest.raises(requests.ConnectionError):
            post(url, CREDENTIALS, auth=auth)
    assert post(url, CREDENTIALS, auth=("app", "wrong")).status_code == 401
    assert post(url, CREDENTIALS | {"scope": "admin"}, auth=auth).status_code == 400
    issuer.policy = Policy(throttled="app")
    assert post(url, CREDENTIALS, auth=auth).status_code == 429
    errors = [row.error for row in issuer.grants.requests()]
    known = ["answered_before", "", "dropped_before", "invalid_client", "invalid_scope"]
    assert errors == [*known, "throttled"]
    assert {row.client_id for row in issuer.grants.requests()} == {"app"}
    assert issuer.presentations() == ()
