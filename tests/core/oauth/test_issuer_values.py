from dataclasses import dataclass
from typing import Any

import pytest

from csidriver.core.oauth.issuer_values import convert, key_of, parse


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


@pytest.mark.parametrize(
    ("default", "raw", "says"),
    [
        ("", 5, "a string"),
        (False, "yes", "true or false"),
        ((), [1], "a list of strings"),
        (1.0, True, "not negative"),
        (1.0, float("inf"), "not negative"),
    ],
)
def test_a_value_of_another_type_is_refused(default: Any, raw: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        convert(default, raw)


def test_all_faults_are_found_at_once() -> None:
    with pytest.raises(ValueError, match="clientID: must be") as caught:
        parse(Settings, {"clientID": 5, "tries": "", "tokentype": "x"})
    assert len(caught.value.args) == 3
    with pytest.raises(ValueError, match="must be a mapping"):
        parse(Settings, ["app"])
    assert "did you mean 'tokenType'?" in caught.value.args[2]
