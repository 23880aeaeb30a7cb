import pytest

from csidriver.core.oauth.introspection import parse_active
from csidriver.core.sensitive import Sensitive


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, '{"active":true,"exp":1}', True),
        (200, '{"active":false}', False),
        (200, '{"active":"false"}', None),
        (200, '{"active":null}', None),
        (200, "{}", None),
        (200, "[]", None),
        (200, "[" * 100_000, None),
        (200, "\ufffd", None),
        (204, '{"active":true}', None),
        (401, '{"active":false}', None),
        (503, '{"active":false}', None),
    ],
    ids=range(11),
)
def test_only_a_plain_answer_says_whether_a_token_is_active(
    status: int, body: str, *, expected: bool | None
) -> None:
    assert parse_active(status, Sensitive(body)) is expected
