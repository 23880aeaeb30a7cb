import pytest
from hypothesis import given
from hypothesis import strategies as st

from csidriver.core.quoting import nearest, quote_untrusted


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        pytest.param("hello-token", "'hello-token'", id="a name"),
        pytest.param("x" * 64, f"'{'x' * 64}'", id="as long as it may be"),
        pytest.param("x" * 65, f"'{'x' * 61}...'", id="too long"),
        pytest.param("é\n", "'\\xe9\\n'", id="not printable ASCII"),
        pytest.param(None, "'None'", id="not a text"),
    ],
)
def test_a_text_is_quoted_escaped_and_shortened(text: object, quoted: str) -> None:
    assert quote_untrusted(text) == quoted
    assert quote_untrusted(text, mark='"')[0] == '"'


@given(st.text())
def test_any_text_becomes_one_line_of_printable_ascii(text: str) -> None:
    assert quote_untrusted(text).isascii()
    assert quote_untrusted(text).isprintable()
    # An escape such as \U0001e2fa takes ten characters for one.
    assert len(quote_untrusted(text)) <= 642


def test_the_nearest_word_is_found_and_no_long_one_is_looked_at() -> None:
    assert nearest("secretname", ["secretName", "fileName"]) == "secretName"
    assert nearest("colour", ["secretName"]) == ""
    assert nearest("x" * 65, ["x" * 64]) == nearest("x" * 64, ["x" * 65]) == ""
