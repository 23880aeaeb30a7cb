from typing import Any

import pytest

from csidriver.core.oauth.issuer_selection import select_issuer
from csidriver.core.oauth.issuers import Issuers
from csidriver.errors import NoIssuer


def parse(*entries: Any) -> Issuers:
    return Issuers.parse([("issuers.yaml", {"issuers": list(entries)})])


CHOICE = parse(
    {"name": "a", "issuer": "https://a"},
    {"name": "b", "issuer": "https://b", "namespaces": ["physics"]},
    {"name": "d", "tokenEndpoint": "https://d/token", "default": True},
)


@pytest.mark.parametrize(
    ("namespace", "wanted", "iss", "name"),
    [
        pytest.param("x", "a", "https://b", "a", id="the annotation wins"),
        pytest.param("x", "", "https://a", "a", id="then the claim"),
        pytest.param("x", "", "https://a/", "d", id="the claim byte for byte"),
        pytest.param("x", "", "", "d", id="then the default"),
        pytest.param("x", "", "https://unknown", "d", id="an unknown claim"),
        pytest.param("physics", "", "https://b", "b", id="an open namespace"),
    ],
)
def test_the_order_of_the_choice(namespace: str, wanted: str, iss: str, name: str) -> None:
    assert select_issuer(CHOICE, namespace, wanted, iss) == CHOICE.by_name[name]


@pytest.mark.parametrize(
    ("namespace", "wanted", "iss", "says"),
    [
        pytest.param("x", "nope", "https://a", "'nope' is not configured", id="unknown name"),
        pytest.param("x", "b", "", "not open to namespace 'x'", id="closed by name"),
        pytest.param("x", "", "https://b", "not open to namespace 'x'", id="closed by claim"),
        pytest.param("x", "n" * 9999, "", "is not configured", id="endless name"),
    ],
)
def test_why_there_is_no_issuer(namespace: str, wanted: str, iss: str, says: str) -> None:
    with pytest.raises(NoIssuer) as caught:
        select_issuer(CHOICE, namespace, wanted, iss)
    assert says in str(caught.value)
    assert len(str(caught.value)) < 200


def test_an_issuer_without_issuer_is_never_chosen_by_an_empty_claim() -> None:
    issuers = parse({"name": "d", "tokenEndpoint": "https://d/token"})
    with pytest.raises(NoIssuer, match="no issuer is configured as default"):
        select_issuer(issuers, "x", "", "")
