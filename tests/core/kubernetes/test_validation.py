import pytest

from csidriver.core.kubernetes.validation import is_dns1123_label, is_dns1123_subdomain


@pytest.mark.parametrize(
    ("value", "label", "subdomain"),
    [
        ("physics", True, True),
        ("a" * 64, False, True),
        ("a.b", False, True),
        ("a" * 254, False, False),
        ("-a", False, False),
        ("a\n", False, False),
        (5, False, False),
    ],
)
def test_names_of_kubernetes(value: object, *, label: bool, subdomain: bool) -> None:
    assert is_dns1123_label(value) is label
    assert is_dns1123_subdomain(value) is subdomain
