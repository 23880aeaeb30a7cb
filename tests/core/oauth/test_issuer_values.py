from dataclasses import dataclass
from typing import Any

import pytest

from csidriver.core.oauth.issuer_values import convert, key_of, parse, parse_fields


@dataclass(frozen=True, slots=True)
class Settings:
    client_id: str = ""
    token_type: str = "Bearer"
    tries: int = 2


def test_a_key_is_the_name_of_its_field_in_camel_case() -> None:
    fields = ("name", "client_id", "default_lifetime", "private_key_idea")
    assert [key_of(field) for field in fields] == [
        *("name", "clientID", "defaultLifetime", "privateKeyIdea")
    ]


def test_a_number_becomes_what_the_field_has() -> None:
    assert (convert(16, 3.0), convert(1.0, 5)) == (3, 5.0)
    assert isinstance(convert(16, 3.0), int)


@pytest.mark.parametrize(
    ("default", "raw", "says"),
    [
        ("", 5, "a string"),
        (False, "yes", "true or false"),
        ((), "a", "a list of strings"),
        ((), [1], "a list of strings"),
        (1.0, -1, "not negative"),
        (1.0, True, "not negative"),
        (1.0, float("inf"), "not negative"),
    ],
)
def test_a_value_of_another_type_is_refused(default: Any, raw: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        convert(default, raw)


def test_what_is_empty_keeps_its_default() -> None:
    raw = {"clientID": "app", "tokenType": "", "tries": None}
    assert parse(Settings, raw) == Settings("app")


def test_all_faults_are_found_at_once() -> None:
    with pytest.raises(ValueError, match="clientID: must be") as caught:
        parse(Settings, {"clientID": 5, "tries": "", "tokentype": "x"})
    assert len(caught.value.args) == 3
    assert "did you mean 'tokenType'?" in caught.value.args[2]


def test_a_field_may_have_a_parser_of_its_own() -> None:
    problems: list[str] = []
    assert parse_fields(Settings, {"tries": "3"}, {"tries": int}, problems) == {"tries": 3}
    assert parse_fields(Settings, {"tries": "x"}, {"tries": int}, problems) == {}
    assert problems[0].startswith("tries: ")
