import pytest

from csidriver.core.oauth.json_object import json_object
from csidriver.core.sensitive import Sensitive


@pytest.mark.parametrize("text", ["", "<html>", "[]", "\ufffd", "[" * 100_000], ids=range(5))
def test_only_an_object_is_returned(text: str) -> None:
    assert json_object(Sensitive(text)) is None
    assert json_object(Sensitive('{"active": true}')) == {"active": True}
