from typing import Any

import pytest

from csidriver.core.oauth.request_settings import (
    PARSERS,
    AssertionSettings,
    OperatorClient,
    PrivateKeySettings,
    TokenExchangeSettings,
)

JWT_SVID = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe"


def parse(name: str, raw: Any) -> Any:
    return PARSERS[name](raw)


def faults_of(name: str, raw: Any) -> list[str]:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the tests look at its texts
        PARSERS[name](raw)
    return list(caught.value.args)


@pytest.mark.parametrize(
    ("name", "raw", "wanted"),
    [
        ("params", {"a": ["x", "y"], "b": "z"}, (("a", "x"), ("a", "y"), ("b", "z"))),
        ("allowed_params", ["scope", "audience"], ("scope", "audience")),
        ("private_key", {"file": "/k", "kid": "1", "alg": "E"}, PrivateKeySettings("/k", "1", "E")),
        ("assertion", {"file": "/t", "type": JWT_SVID}, AssertionSettings("/t", JWT_SVID)),
        ("clients", [{"clientID": "a", "namespaces": ["b"]}], (OperatorClient("a", ("b",)),)),
        (
            "token_exchange",
            {"widerScope": True, "sameAudience": True, "subjectTokenType": "https://own"},
            TokenExchangeSettings(True, True, "https://own"),
        ),
    ],
)
def test_values_are_read(name: str, raw: Any, wanted: Any) -> None:
    assert parse(name, raw) == wanted


NEVER = [
    *("grant_type", "client_id", "client_secret", "client_assertion", "refresh_token"),
    *("subject_token", "subject_token_type", "assertion", "Client_ID", "client.id"),
    *("", "a b", "a&b", "x" * 65),
]
NOT_FOR_SOURCES = [
    *("actor_token", "actor_token_type", "code", "code_verifier", "username", "password"),
    "requested_token_type",
]


@pytest.mark.parametrize("param", NEVER)
def test_nobody_sets_what_decides_for_whom_a_token_is_made(param: str) -> None:
    assert faults_of("params", {param: "x"}) == [f"must not have {param!r}"]
    assert faults_of("allowed_params", [param]) == [f"must not have {param!r}"]


@pytest.mark.parametrize("param", NOT_FOR_SOURCES)
def test_some_parameters_are_the_operators_alone(param: str) -> None:
    assert parse("params", {param: "x"}) == ((param, "x"),)
    assert faults_of("allowed_params", [param]) == [f"must not have {param!r}"]


def test_the_scope_has_a_key_of_its_own_and_sources_may_set_it() -> None:
    assert faults_of("params", {"scope": "x"}) == ["must not have 'scope'"]
    assert parse("allowed_params", ["scope"]) == ("scope",)


@pytest.mark.parametrize(
    ("name", "raw", "says"),
    [
        ("params", [], "must be a mapping"),
        *(("params", {"a": value}, "for a") for value in (1, [], ["x", ""], "\ud800")),
        *(("params", {5: "x"}, "must not have 5"), ("allowed_params", [5], "must not have 5")),
        *(("allowed_params", "scope", "must be a list"), ("clients", {}, "must be a list")),
        ("private_key", {"key": "x"}, "unknown key 'key'"),
        ("clients", [{"clientID": "app", "namespaces": []}], "must be a list"),
        ("clients", [{"clientID": 5, "namespaces": ["a"]}], "clientID: must be a string"),
    ],
)
def test_one_fault_is_one_problem(name: str, raw: Any, says: str) -> None:
    (fault,) = faults_of(name, raw)
    assert says in fault


def test_no_fault_quotes_a_value() -> None:
    assert "s3cret" not in faults_of("params", {"password": ["s3cret", 5]})[0]
