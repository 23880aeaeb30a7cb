from collections.abc import Callable
from typing import Any

import pytest

from csidriver.demo.families import OAuthError, RegisteredClient, Trust
from csidriver.demo.grants.assertions import AssertionVerifier
from tests.demo.conftest import Clock
from tests.demo.grants.signing import assertion_fields, signing_key

ISSUER = "https://as.example"
CLUSTER = "https://kubernetes.default.svc"
SUBJECT = "system:serviceaccount:apps:job"
FOREIGN = signing_key(kid="of the cluster")


CLIENTS = [
    RegisteredClient("signing", None, (signing_key("ES256").public_pem, signing_key().public_pem)),
    RegisteredClient("old", None, (signing_key().public_pem,), audience=f"{ISSUER}/token"),
    RegisteredClient("job", None, trust=Trust(CLUSTER, SUBJECT, FOREIGN.jwks)),
]


@pytest.fixture
def verifier(clock: Clock) -> AssertionVerifier:
    return AssertionVerifier(CLIENTS, ISSUER, clock)


def own(clock: Clock, client_id: str = "signing", aud: Any = ISSUER, **claims: Any) -> str:
    return signing_key().own_assertion(client_id, aud, clock.at, **claims)


def foreign(clock: Clock, **claims: Any) -> str:
    made = {"iss": CLUSTER, "sub": SUBJECT, "aud": [ISSUER], "exp": int(clock.at) + 3600}
    return FOREIGN.sign(**{**made, **claims})


def refusal(verifier: AssertionVerifier, fields: dict[str, str]) -> str:
    with pytest.raises(OAuthError) as refused:
        verifier.authenticate(fields)
    assert refused.value.error == "invalid_client"
    return refused.value.description


@pytest.mark.parametrize(
    ("sign", "claims", "why"),
    [
        (own, {"aud": [ISSUER, "https://other.example"]}, "audience"),
        (own, {"exp": 1_700_000_000}, "expired"),
        (own, {"exp": 1_700_000_301}, "too long"),
        (own, {"exp": None}, "expired"),
        (own, {"jti": None}, "no jti"),
        (own, {"iss": "nobody", "sub": "nobody"}, "signature"),
        (foreign, {"sub": "system:serviceaccount:apps:other"}, "signature"),
        (foreign, {"aud": ["https://other.example"]}, "audience"),
        (foreign, {"exp": 1_700_000_000 + 3601}, "too long"),
    ],
)
def test_an_assertion_is_for_this_server_short_and_of_somebody_known(
    verifier: AssertionVerifier,
    clock: Clock,
    sign: Callable[..., str],
    claims: dict[str, Any],
    why: str,
) -> None:
    assert why in refusal(verifier, assertion_fields(sign(clock, **claims)))


def test_an_older_client_names_the_token_endpoint(
    verifier: AssertionVerifier, clock: Clock
) -> None:
    verifier.authenticate(assertion_fields(own(clock, "old", f"{ISSUER}/token")))
    assert "audience" in refusal(verifier, assertion_fields(own(clock, "old")))


def test_another_key_no_jwt_another_type_and_another_client_are_refused(
    verifier: AssertionVerifier, clock: Clock
) -> None:
    stranger = FOREIGN.own_assertion("signing", ISSUER, clock.at)
    for assertion in (stranger, "no.jwt", ""):
        assert "signature" in refusal(verifier, assertion_fields(assertion))
    fields = assertion_fields(own(clock), client_assertion_type="saml")
    assert "client_assertion_type" in refusal(verifier, fields)
    fields = assertion_fields(own(clock), client_id="job")
    assert "client_id" in refusal(verifier, fields)


def test_a_trusted_token_works_more_than_once_and_names_its_client(
    verifier: AssertionVerifier, clock: Clock
) -> None:
    fields = assertion_fields(foreign(clock, aud=["https://other.example", ISSUER]))
    for _ in range(2):
        assert verifier.authenticate(fields).client_id == "job"
    assert verifier.authenticate({**fields, "client_id": "job"}).client_id == "job"


def test_without_keys_and_trust_it_is_not_needed() -> None:
    assert not AssertionVerifier([RegisteredClient("public", None)], ISSUER).is_needed
