import pytest

from csidriver.core.oauth.introspection import parse_active
from csidriver.core.sensitive import Sensitive


@pytest.mark.parametrize(
    ("status", "body", "active"),
    [
        pytest.param(200, '{"active": true}', True, id="active"),
        pytest.param(200, '{"active": false, "x": 1}', False, id="inactive"),
        pytest.param(401, '{"active": false}', None, id="not authorised"),
        pytest.param(204, '{"active": true}', None, id="another success"),
        pytest.param(200, '{"active": "false"}', None, id="a text"),
        pytest.param(200, '{"active": 0}', None, id="a number"),
        pytest.param(200, "{}", None, id="no answer"),
        pytest.param(200, "[true]", None, id="a list"),
        pytest.param(200, "<html>", None, id="not JSON"),
        pytest.param(200, "[" * 100_000, None, id="nested too deeply"),
    ],
)
def test_only_a_clear_response_counts(status: int, body: str, *, active: bool | None) -> None:
    assert parse_active(status, Sensitive(body)) is active
