import pytest

from csidriver.core.companion import AccessToken
from csidriver.core.sensitive import Sensitive
from csidriver.core.volume.template import MAX_CONTENT, MAX_TEMPLATE, Template
from csidriver.errors import InvalidTemplate

TOKEN = AccessToken(Sensitive("tok.en"), "Bearer", 1000.0, 4600.9, 1000.5)


def rendered(text: str) -> bytes:
    return Template.parse(text).render(TOKEN)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("$(ACCESS_TOKEN)", b"tok.en"),
        ("$(TOKEN_TYPE) $(ACCESS_TOKEN):$(EXPIRES_AT)", b"Bearer tok.en:4600"),
        ("$$$(ACCESS_TOKEN)", b"$tok.en"),
        ("$ACCESS_TOKEN ${ACCESS_TOKEN} (x)", b"$ACCESS_TOKEN ${ACCESS_TOKEN} (x)"),
        ("caf\u00e9\r\n\t", "caf\u00e9\r\n\t".encode()),
    ],
)
def test_exact_bytes(text: str, wanted: bytes) -> None:
    assert rendered(text) == wanted


def test_what_a_token_contains_is_not_expanded() -> None:
    sneaky = AccessToken(Sensitive("$(EXPIRES_AT)$$"), "$(ACCESS_TOKEN)", 0.0, 1.0)
    assert Template.parse("$(ACCESS_TOKEN) $(TOKEN_TYPE)").render(sneaky) == (
        b"$(EXPIRES_AT)$$ $(ACCESS_TOKEN)"
    )


@pytest.mark.parametrize("text", ["$(REFRESH_TOKEN)", "$(ACCESS_TOKEN", "$(A\n)"])
def test_other_names_are_errors(text: str) -> None:
    with pytest.raises(InvalidTemplate) as caught:
        Template.parse(text)
    assert len(caught.value.problems) == 1


def test_a_word_is_repeated_only_if_it_is_no_token() -> None:
    with pytest.raises(InvalidTemplate) as caught:
        Template.parse("$(access_token) $(eyJhbGciOiJSUzI1NiJ9) $(abcdefghijklmnopqrstuvwxyz)")
    first, second, third = caught.value.problems
    assert first.startswith("names '$(access_token)', which is not one of ")
    assert second.startswith("names a text at character 16, which ")
    assert third.startswith("names a text at character 40, which ")


def test_all_problems_are_reported_at_once_and_each_once() -> None:
    with pytest.raises(InvalidTemplate) as caught:
        Template.parse("$(A) $(B) $(A) $(" + "x" * 1000)
    a, b, unclosed = caught.value.problems
    assert "$(A)" in a
    assert "$(B)" in b
    assert "without )" in unclosed
    with pytest.raises(InvalidTemplate) as caught:
        Template.parse("".join(f"$({n})" for n in range(1000)))
    assert len(str(caught.value)) < 2048


def test_the_limit_counts_bytes() -> None:
    assert rendered("é" * (MAX_TEMPLATE // 2)) == ("é" * (MAX_TEMPLATE // 2)).encode()
    with pytest.raises(InvalidTemplate, match="16 KiB"):
        Template.parse("é" * (MAX_TEMPLATE // 2) + "x")


@pytest.mark.parametrize("name", ["ACCESS_TOKEN", "TOKEN_TYPE"])
def test_the_expansion_is_limited_too(name: str) -> None:
    half = "x" * (MAX_CONTENT // 2)
    token = AccessToken(Sensitive(half), half, 0.0, 1.0)
    assert len(Template.parse(f"$({name})$({name})").render(token)) == MAX_CONTENT
    with pytest.raises(InvalidTemplate):
        Template.parse(f"$({name})$({name})x").render(token)
