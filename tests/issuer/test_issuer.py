"""What the issuer of the tests logs, on which tests of the driver rely."""

from collections.abc import Iterator

import pytest
import requests

from csidriver.core.sensitive import Sensitive
from csidriver.demo.families import RegisteredClient
from tests.demo.client import post, refresh
from tests.issuer.faults import Fault, ReplacedBody, StatusReply, Truncate
from tests.issuer.issuer import ScriptedIssuer
from tests.issuer.policy import Policy

CREDENTIALS = {"grant_type": "client_credentials"}


@pytest.fixture
def issuer() -> Iterator[ScriptedIssuer]:
    with ScriptedIssuer(clients=[RegisteredClient("app", Sensitive("s3cret"))]) as running:
        yield running


@pytest.mark.parametrize(
    ("fault", "outcome", "broken"),
    [
        (StatusReply(599, b"later", {"Retry-After": "7"}), "answered_before", False),
        (ReplacedBody(b"<html>"), "rotated", False),
        (Truncate(10), "rotated", True),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_fault_spends_a_token_or_does_not(
    issuer: ScriptedIssuer, fault: Fault, outcome: str, *, broken: bool
) -> None:
    seed = issuer.seed("app")
    issuer.add_faults(fault)
    try:
        refresh(issuer, seed)
        assert not broken
    except requests.RequestException:
        assert broken
    refresh(issuer, seed)
    then = "replayed" if outcome == "rotated" else "rotated"
    assert [row.outcome for row in issuer.presentations()] == [outcome, then]


def test_token_requests_are_logged_however_they_end(issuer: ScriptedIssuer) -> None:
    issuer.add_faults(StatusReply(503))
    url, auth, seed = f"{issuer.url}/token", ("app", "s3cret"), issuer.seed("app")
    assert post(url, CREDENTIALS, auth=auth).status_code == 503
    assert post(url, CREDENTIALS, auth=("app", "wrong")).status_code == 401
    assert post(url, CREDENTIALS | {"scope": "admin"}, auth=auth).status_code == 400
    assert refresh(issuer, seed, auth=("app", "wrong")).status_code == 401
    issuer.policy = Policy(throttled="app")
    assert post(url, CREDENTIALS, auth=auth).status_code == 429
    errors = [row.error for row in issuer.grants.requests()]
    assert errors == ["answered_before", "invalid_client", "invalid_scope", "throttled"]
    [row] = issuer.presentations()
    assert (row.token_hash, row.outcome) == (seed.hash(), "invalid_client")
