import pytest

from csidriver.core.oauth.issuer_values import convert


def test_an_empty_text_in_yaml_is_an_empty_text() -> None:
    assert convert("scope", None) == ""


def test_a_number_becomes_what_the_field_has() -> None:
    assert (convert("in_flight", 3.0), convert("rate", 5)) == (3, 5.0)
    assert isinstance(convert("in_flight", 3.0), int)


@pytest.mark.parametrize(
    ("name", "raw", "says"),
    [
        ("scope", 5, "a string"),
        ("internal", "yes", "true or false"),
        ("namespaces", "a", "a list of strings"),
        ("endpoint_hosts", ["https://a"], "host:port"),
        ("rate", -1, "not negative"),
        ("rate", float("inf"), "not negative"),
    ],
)
def test_a_value_of_another_type_is_refused(name: str, raw: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        convert(name, raw)
