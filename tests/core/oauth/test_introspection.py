import pytest

from csidriver.core.oauth.introspection import Introspection, parse_introspection
from csidriver.core.sensitive import Sensitive


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, '{"active":true,"exp":1}', Introspection.ACTIVE),
        (200, '{"active":false}', Introspection.INACTIVE),
        (200, '{"active":"false"}', Introspection.SILENT),
        (200, "<html>", Introspection.SILENT),
        (400, '{"error":"invalid_request"}', Introspection.REFUSED),
        (401, '{"active":false}', Introspection.UNCLEAR),
        (500, '{"active":true}', Introspection.SILENT),
    ],
    ids=range(7),
)
def test_only_a_plain_answer_says_whether_a_token_is_active(
    status: int, body: str, expected: Introspection
) -> None:
    assert parse_introspection(status, Sensitive(body)) is expected
