from typing import Any

import pytest

from csidriver.core.oauth.issuers import STRICT, UNLIMITED, Issuer, Issuers
from csidriver.core.oauth.request_settings import (
    AssertionSettings,
    OperatorClient,
    PrivateKeySettings,
)
from csidriver.errors import InvalidSettings

ENTRY = {"name": "cern", "issuer": "https://auth.example/realms/x"}
SIGNING: dict[str, Any] = {"clientAuth": "private_key_jwt", "privateKey": {"file": "/key.pem"}}
ASSERTING: dict[str, Any] = {"clientAuth": "assertion", "assertion": {"file": "/run/token"}}


def parse(*entries: Any) -> Issuers:
    return Issuers.parse([("issuers.yaml", {"issuers": list(entries)})])


def one(**change: Any) -> Issuer:
    (issuer,) = parse(ENTRY | change).by_name.values()
    return issuer


def problems(*entries: Any) -> tuple[str, ...]:
    with pytest.raises(InvalidSettings) as caught:
        parse(*entries)
    return caught.value.problems


def test_the_defaults_are_those_of_the_documents() -> None:
    issuer = one()
    assert issuer == Issuer("cern", ENTRY["issuer"])
    assert (issuer.rate, issuer.in_flight, issuer.default_lifetime) == (50, 16, 300)
    assert (issuer.reuse, issuer.identifier) == (STRICT, ENTRY["issuer"])
    assert Issuer("x", token_endpoint="https://a/t").identifier == "https://a/t"


def test_how_often_a_refresh_token_may_be_used_is_read() -> None:
    found = [one(reuse=raw).reuse for raw in ("strict", "unlimited", {"window": 30})]
    assert found == [STRICT, UNLIMITED, 30.0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param({"issuer": ""}, "needs issuer or tokenEndpoint", id="no server"),
        pytest.param({"clientAuth": "jwt"}, "clientAuth", id="client auth"),
        pytest.param({"issuer": "http://as"}, "internal: true", id="http"),
        pytest.param({"introspectionEndpoint": "https://as/i"}, "tokenEndpoint only", id="probe"),
        pytest.param({"clientAuth": "assertion"}, "need each other", id="no assertion"),
        (SIGNING | {"issuer": "", "tokenEndpoint": "https://as/t"}, "or assertionAudience"),
        ({"clients": [{"clientID": "a", "namespaces": ["n"]}]}, "clients goes with"),
        *(({"reuse": {"window": value}}, "reuse") for value in (0, True, float("nan"))),
        pytest.param({"scope": 5}, "scope: must be a string", id="another type"),
        pytest.param({"endpointHosts": ["a/b"]}, "host:port", id="endpoint host"),
        pytest.param({"rate": 0}, "rate must be above 0", id="rate 0"),
        pytest.param({"inFlight": 17}, "inFlight must be at most 16", id="all workers"),
        pytest.param({"defaultLifetime": 1e9}, "defaultLifetime", id="lifetime of 30 years"),
        pytest.param({"zzz": 1}, "unknown key 'zzz'", id="unknown"),
    ],
)
def test_one_fault_is_one_problem(change: dict[Any, Any], says: str) -> None:
    (problem,) = problems(ENTRY | change)
    assert problem.startswith("issuers.yaml: issuers[0]: ")
    assert says in problem


def test_clients_without_a_secret_are_the_operators() -> None:
    clients = [{"clientID": "app", "namespaces": ["physics"]}]
    signing, asserting = one(**SIGNING, clients=clients), one(**ASSERTING)
    assert signing.clients == (OperatorClient("app", ("physics",)),)
    assert signing.private_key == PrivateKeySettings("/key.pem")
    assert asserting.assertion == AssertionSettings("/run/token")
    keyed = one(clientAuth="private_key_jwt")
    found = [issuer.has_operator_clients for issuer in (signing, asserting, keyed)]
    assert found == [True, True, False]


def test_an_issuer_shows_no_value_of_its_params() -> None:
    issuer = one(params={"password": "s3cret"})
    assert issuer.params == (("password", "s3cret"),)
    assert "s3cret" not in repr(issuer)


@pytest.mark.parametrize(
    "change",
    [
        {"params": {"resource": "https://a"}},
        SIGNING,
        ASSERTING,
        ASSERTING | {"clients": [{"clientID": "app", "namespaces": ["physics"]}]},
    ],
    ids=lambda change: list(change)[-1],
)
def test_a_changed_request_makes_earlier_refusals_obsolete(change: dict[str, Any]) -> None:
    assert one(**change).fingerprint != one().fingerprint


def test_all_problems_of_all_files_at_once() -> None:
    first = ENTRY | {"name": "one", "default": True, "rate": 0, "zzz": 1}
    others = [ENTRY, ENTRY, ENTRY | {"name": "two", "default": True}]
    with pytest.raises(InvalidSettings) as caught:
        Issuers.parse([("a", {"issuers": [first, "x"]}), ("b", None), ("c", {"issuers": others})])
    found = caught.value.problems
    assert len(found) == 6
    wanted = ("zzz", "rate", "mapping", "b: has no list")
    for says in (*wanted, "'cern' is configured twice", "more than one default issuer: one, two"):
        assert any(says in problem for problem in found)
