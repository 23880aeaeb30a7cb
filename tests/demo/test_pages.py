import pytest

from csidriver.demo.http_messages import HttpReply
from csidriver.demo.pages import authorization_page, device_page, message_page

EVIL = "\"><script>alert('x')</script>"


@pytest.mark.parametrize(
    "page",
    [
        message_page(EVIL, EVIL),
        device_page(EVIL, EVIL, EVIL),
        authorization_page(EVIL, {EVIL: EVIL}),
    ],
)
def test_a_page_quotes_what_it_was_given_and_allows_no_script(page: HttpReply) -> None:
    assert b"<script" not in page.body
    assert b"&lt;script&gt;" in page.body
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert page.headers["Cache-Control"] == "no-store"


def test_a_code_that_is_refused_leaves_the_form_open() -> None:
    page = device_page("", "", "This code is unknown.")
    assert page.status == 400
    assert b"This code is unknown." in page.body
    assert b'id="user_code"' in page.body
