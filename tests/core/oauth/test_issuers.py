from typing import Any

import pytest

from csidriver.core.oauth.issuers import STRICT, UNLIMITED, Issuer, Issuers
from csidriver.core.oauth.request_settings import (
    JWT_BEARER,
    AssertionSettings,
    OperatorClient,
    PrivateKeySettings,
)
from csidriver.errors import InvalidSettings

ENTRY = {"name": "cern", "issuer": "https://auth.example/realms/x"}
DESIGN: dict[str, Any] = ENTRY | {
    "tokenEndpoint": "",
    "default": True,
    "clientAuth": "basic",
    "reuse": "strict",
    "caFile": "",
    "internal": False,
    "namespaces": [],
    "minLead": 0,
    "defaultLifetime": 300,
    "rate": 50,
    "inFlight": 16,
    "scope": "",
    "proxy": "",
    "endpointHosts": [],
    "introspectionEndpoint": "",
    "accessTokenIssuers": [],
    "login": None,
    "params": {},
    "allowedParams": [],
    "privateKey": {"file": "", "kid": "", "alg": ""},
    "assertion": {"file": "", "type": JWT_BEARER},
    "assertionAudience": "issuer",
    "clients": [],
    "tokenExchange": {},
}
SIGNING: dict[str, Any] = {"clientAuth": "private_key_jwt", "privateKey": {"file": "/key.pem"}}
ASSERTING: dict[str, Any] = {"clientAuth": "assertion", "assertion": {"file": "/run/token"}}


def parse(*entries: Any) -> Issuers:
    return Issuers.parse([("issuers.yaml", {"issuers": list(entries)})])


def problems(*entries: Any) -> tuple[str, ...]:
    with pytest.raises(InvalidSettings) as caught:
        parse(*entries)
    return caught.value.problems


def test_the_example_of_the_design_parses() -> None:
    (issuer,) = parse(DESIGN).by_name.values()
    wanted = Issuer("cern", ENTRY["issuer"], default=True, client_auth="basic")
    assert issuer == wanted


def test_the_defaults_are_those_of_the_design() -> None:
    (issuer,) = parse(ENTRY).by_name.values()
    assert issuer == Issuer("cern", ENTRY["issuer"])
    assert (issuer.rate, issuer.in_flight, issuer.default_lifetime) == (50, 16, 300)
    assert issuer.reuse == STRICT
    assert issuer.identifier == ENTRY["issuer"]
    assert Issuer("x", token_endpoint="https://a/t").identifier == "https://a/t"


@pytest.mark.parametrize(
    ("change", "field", "wanted"),
    [
        ({"reuse": "unlimited"}, "reuse", UNLIMITED),
        ({"reuse": {"window": 30}}, "reuse", 30.0),
        ({"namespaces": ["a", "b"]}, "namespaces", ("a", "b")),
        ({"accessTokenIssuers": ["http://a/trust"]}, "access_token_issuers", ("http://a/trust",)),
        ({"scope": None}, "scope", ""),
        ({"minLead": 1.5}, "min_lead", 1.5),
        ({"clientAuth": "none"}, "client_auth", "none"),
        ({"issuer": "http://as", "internal": True}, "internal", True),
        ({"issuer": "https://a:8443/x?y=z"}, "issuer", "https://a:8443/x?y=z"),
    ],
)
def test_values_are_read(change: dict[str, Any], field: str, wanted: Any) -> None:
    (issuer,) = parse(ENTRY | change).by_name.values()
    assert getattr(issuer, field) == wanted


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param({"name": ""}, "name is missing", id="name empty"),
        pytest.param({"issuer": ""}, "needs issuer or tokenEndpoint", id="no server"),
        pytest.param({"issuer": "http://as"}, "internal: true", id="http"),
        pytest.param({"issuer": "ftp://as", "internal": True}, "https", id="ftp"),
        pytest.param({"issuer": "https://"}, "host", id="no host"),
        pytest.param({"issuer": "https://u@as"}, "no user", id="user"),
        pytest.param({"issuer": "https://:p@as"}, "no user", id="password"),
        pytest.param({"issuer": "https://as#x"}, "fragment", id="fragment"),
        pytest.param({"issuer": "https://[::1"}, "is not a URL", id="bracket"),
        pytest.param({"issuer": "https://as:99999"}, "is not a URL", id="port"),
        pytest.param({"tokenEndpoint": "x"}, "tokenEndpoint", id="endpoint"),
        pytest.param(
            {"introspectionEndpoint": "https://as/i"}, "tokenEndpoint only", id="introspection"
        ),
        pytest.param({"clientAuth": "jwt"}, "clientAuth", id="client auth"),
        pytest.param(
            {"privateKey": {"kid": "1"}}, "privateKey goes with", id="key of another method"
        ),
        pytest.param({"clientAuth": "assertion"}, "need each other", id="no assertion"),
        pytest.param({"assertion": {"file": "/f"}}, "need each other", id="unused assertion"),
        pytest.param({"assertionAudience": "x"}, "assertionAudience goes with", id="audience"),
        pytest.param(
            SIGNING | {"issuer": "", "tokenEndpoint": "https://as/t"},
            "needs issuer or assertionAudience",
            id="no audience",
        ),
        pytest.param(
            {"clientAuth": "private_key_jwt", "clients": [{"clientID": "a", "namespaces": ["n"]}]},
            "clients goes with",
            id="clients with keys of their own",
        ),
        pytest.param({"reuse": "window"}, "reuse", id="reuse word"),
        pytest.param({"reuse": {"window": 0}}, "reuse", id="window 0"),
        pytest.param({"reuse": {"window": True}}, "reuse", id="window true"),
        pytest.param({"reuse": {"window": float("nan")}}, "reuse", id="window nan"),
        pytest.param({"reuse": {"window": 1, "x": 2}}, "reuse", id="window and more"),
        pytest.param({"default": "yes"}, "default", id="default text"),
        pytest.param({"namespaces": "a"}, "namespaces", id="namespaces text"),
        pytest.param({"namespaces": [1]}, "namespaces", id="namespaces numbers"),
        *[
            pytest.param({"endpointHosts": [host]}, "host:port", id=f"endpoint host {host}")
            for host in ("a/b", "a b", "u@h", "h:port", "https://h", "")
        ],
        pytest.param({"accessTokenIssuers": "a"}, "must be a list", id="access token issuer text"),
        pytest.param({"rate": 0}, "rate must be above 0", id="rate 0"),
        pytest.param({"inFlight": 17}, "inFlight must be at most 16", id="all workers"),
        pytest.param({"inFlight": 0.5}, "inFlight must be above 0", id="half a request"),
        pytest.param({"rate": -1}, "rate", id="rate negative"),
        pytest.param({"rate": float("nan")}, "rate", id="rate nan"),
        pytest.param({"minLead": "5"}, "minLead", id="text number"),
        pytest.param({"minLead": True}, "minLead", id="bool number"),
        pytest.param({"defaultLifetime": 0}, "defaultLifetime", id="lifetime 0"),
        pytest.param({"defaultLifetime": 1e9}, "defaultLifetime", id="lifetime of 30 years"),
        pytest.param({"scope": 5}, "scope", id="scope number"),
        pytest.param({"tokenEndpiont": "x"}, "did you mean 'tokenEndpoint'?", id="typo"),
        pytest.param({"zzz": 1}, "unknown key 'zzz'", id="unknown"),
        pytest.param({5: 1}, "unknown key 5", id="number as key"),
    ],
)
def test_one_fault_is_one_problem(change: dict[Any, Any], says: str) -> None:
    (problem,) = problems(ENTRY | change)
    assert problem.startswith("issuers.yaml: issuers[0]: ")
    assert says in problem


def test_requests_are_read_with_their_clients() -> None:
    entry = ENTRY | SIGNING | {"clients": [{"clientID": "app", "namespaces": ["physics"]}]}
    (issuer,) = parse(entry).by_name.values()
    assert issuer.clients == (OperatorClient("app", ("physics",)),)
    assert issuer.private_key == PrivateKeySettings("/key.pem")
    assert issuer.has_operator_clients
    (asserting,) = parse(ENTRY | ASSERTING).by_name.values()
    assert asserting.assertion == AssertionSettings("/run/token")
    assert asserting.has_operator_clients
    (keyed,) = parse(ENTRY | {"clientAuth": "private_key_jwt"}).by_name.values()
    assert not keyed.has_operator_clients


def test_an_issuer_shows_no_value_of_its_params() -> None:
    (issuer,) = parse(ENTRY | {"params": {"password": "s3cret"}}).by_name.values()
    assert issuer.params == (("password", "s3cret"),)
    assert "s3cret" not in repr(issuer)


@pytest.mark.parametrize(
    "change",
    [
        {"params": {"resource": "https://a"}},
        {"allowedParams": ["scope"]},
        SIGNING,
        SIGNING | {"assertionAudience": "tokenEndpoint"},
        ASSERTING,
        ASSERTING | {"clients": [{"clientID": "app", "namespaces": ["physics"]}]},
        {"tokenExchange": {"widerScope": True}},
    ],
    ids=lambda change: list(change)[-1],
)
def test_a_changed_request_makes_earlier_refusals_obsolete(change: dict[str, Any]) -> None:
    (plain,) = parse(ENTRY).by_name.values()
    (changed,) = parse(ENTRY | change).by_name.values()
    assert changed.fingerprint != plain.fingerprint


def test_all_problems_of_all_files_at_once() -> None:
    with pytest.raises(InvalidSettings) as caught:
        Issuers.parse(
            [
                (
                    "a",
                    {
                        "issuers": [
                            ENTRY | {"name": "one", "default": True, "rate": 0, "zzz": 1},
                            "text",
                        ]
                    },
                ),
                ("b", None),
                ("c", {"issuers": {}}),
                ("d", {"issuers": [ENTRY, ENTRY, ENTRY | {"name": "two", "default": True}]}),
            ]
        )
    found = caught.value.problems
    assert len(found) == 7
    for says in ("zzz", "rate", "mapping", "b: has no list", "c: has no list"):
        assert any(says in problem for problem in found)
    assert any("'cern' is configured twice" in problem for problem in found)
    assert any("more than one default issuer: one, two" in problem for problem in found)


def test_files_are_merged() -> None:
    merged = Issuers.parse(
        [("a", {"issuers": [ENTRY]}), ("b", {"issuers": [ENTRY | {"name": "x"}]})]
    )
    assert sorted(merged.by_name) == ["cern", "x"]
    assert Issuers.parse([]).by_name == {}
