import pytest

from csidriver.core.oauth.json_object import json_object
from csidriver.core.sensitive import Sensitive


def test_an_object_is_returned() -> None:
    assert json_object(Sensitive('{"active": true}')) == {"active": True}
    assert json_object(Sensitive("{}")) == {}


@pytest.mark.parametrize("text", ["", "<html>", "[]", "1", "null", "[" * 100_000], ids=range(6))
def test_everything_else_is_none(text: str) -> None:
    assert json_object(Sensitive(text)) is None
