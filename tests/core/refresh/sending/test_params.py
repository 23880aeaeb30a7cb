"""What annotations ask a server for, and what no annotation reaches (docs/protocol.md 10.1)."""

import json

import pytest

from csidriver.core import annotations
from csidriver.core.kubernetes.secret import own_annotations
from csidriver.core.oauth.grant_type import GrantType
from csidriver.core.refresh.sending.params import parse_login, parse_params, refused_param
from tests.core.refresh.sending.sources import CLIENT, LOGIN, OPEN, forms, process, put_client
from tests.core.refresh.virtual_cluster import VirtualCluster

CLIENTS = GrantType.CLIENT_CREDENTIALS


def parse(**notes: str) -> tuple[tuple[tuple[str, str], ...], list[str]]:
    problems: list[str] = []
    found = own_annotations({annotations.PREFIX + key: text for key, text in notes.items()})
    return parse_params(found, CLIENTS, problems), problems


def test_words_and_a_json_object_become_form_fields() -> None:
    pairs, problems = parse(
        scope="read  write", audience="a b", params='{"tenant": "t", "many": ["1", "2"]}'
    )
    assert problems == []
    assert pairs == (
        ("scope", "read write"),
        ("audience", "a"),
        ("audience", "b"),
        ("tenant", "t"),
        ("many", "1"),
        ("many", "2"),
    )


@pytest.mark.parametrize(
    "params",
    [
        "no json",
        '{"a": 1}',
        '{"a": "x\\ny"}',
        '{"a": "\\ud800"}',
        '{"a b": "x"}',
        '{"a": ' + "[" * 3000 + "]" * 3000 + "}",
        '{"a": "' + "x" * 5000 + '"}',
    ],
)
def test_what_is_no_object_of_texts_is_refused(params: str) -> None:
    pairs, problems = parse(params=params)
    assert pairs == ()
    [problem] = problems
    fault = "has more than 4095" if len(params) > 5000 else "must have a JSON object of names"
    assert problem.startswith(f"annotation {annotations.PARAMS} {fault}")


@pytest.mark.parametrize(
    "notes",
    [
        *({"scope": text} for text in (" ", "a\x00b", "x" * 5000)),
        {"scope": "a", "params": '{"scope": "b"}'},
        {"audience": " ".join(map(str, range(70)))},
    ],
    ids=["blank", "unprintable", "long", "a name in two annotations", "too many"],
)
def test_a_scope_has_words_and_fields_are_unique_and_not_too_many(notes: dict[str, str]) -> None:
    assert len(parse(**notes)[1]) == 1


@pytest.mark.parametrize("key", ["scope", "audience", "resource", "params", "login"])
def test_a_refresh_token_has_none_of_these_annotations(key: str) -> None:
    found, problems = {annotations.PREFIX + key: "x"}, list[str]()
    parse_params(found, GrantType.REFRESH_TOKEN, problems)
    parse_login(found, GrantType.REFRESH_TOKEN, problems)
    [problem] = problems
    assert problem.startswith(f"annotation {annotations.PREFIX}{key} is for grant-type ")


@pytest.mark.parametrize("name", ["", "Upper", "a/b", "-", "x" * 300])
def test_a_login_is_the_name_of_a_secret(name: str) -> None:
    problems: list[str] = []
    parse_login({annotations.LOGIN: name}, GrantType.TOKEN_EXCHANGE, problems)
    assert len(problems) == 1


@pytest.mark.parametrize("name", ["grant_type", "Client_ID", "client.assertion", "password"])
def test_nobody_is_sent_to_the_operator_for_what_no_source_may_set(name: str) -> None:
    assert refused_param(((name, "a"),), OPEN).endswith(f"set {name!r}; remove it")


FIXED = [
    *("grant_type", "client_id", "Client_ID", "client_secret", "client_assertion", "refresh_token"),
    *("subject_token", "subject_token_type", "actor_token", "assertion", "code", "username"),
    *("password", "requested_token_type"),
]


@pytest.mark.parametrize("name", [*FIXED, "closed"])
@pytest.mark.parametrize("grant_type", ["client_credentials", "token-exchange"])
def test_no_annotation_reaches_a_field_that_the_operator_does_not_allow(
    grant_type: str, name: str
) -> None:
    cluster = VirtualCluster()
    put_client(cluster, LOGIN)
    process(cluster, OPEN, LOGIN).reconcile()
    login = {"login": LOGIN.name} if grant_type == "token-exchange" else {}
    cluster.put(CLIENT, grant_type=grant_type, params=json.dumps({name: "x"}), **login)
    process(cluster).reconcile()
    assert len(forms(cluster)) == 1, "the login's own"
    assert cluster.status() in ("Invalid", "Misconfigured")
