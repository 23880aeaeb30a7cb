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
    {"name": "s", "issuer": "https://s/", "accessTokenIssuers": ["http://s/trust", ""]},
    {"name": "t", "issuer": "https://t", "accessTokenIssuers": ["https://a"]},
    {"name": "u", "issuer": "https://t/"},
    {"name": "d", "tokenEndpoint": "https://d/token", "default": True},
)


@pytest.mark.parametrize(
    ("wanted", "iss", "name"),
    [
        pytest.param("a", "https://b", "a", id="the annotation wins"),
        pytest.param("", "https://a/", "a", id="then the claim, a slash more"),
        pytest.param("", "https://t/", "u", id="byte for byte first, with the slash"),
        pytest.param("", "http://s/trust/", "s", id="a listed claim and a slash"),
        pytest.param("", "", "d", id="then the default"),
        pytest.param("", "https://b", "b", id="an open namespace"),
    ],
)
def test_the_order_of_the_choice(wanted: str, iss: str, name: str) -> None:
    assert select_issuer(CHOICE, "physics", wanted, iss) == CHOICE.by_name[name]


def refusal(wanted: str = "", iss: str = "", issuers: Issuers = CHOICE) -> str:
    with pytest.raises(NoIssuer) as caught:
        select_issuer(issuers, "x", wanted, iss)
    return str(caught.value)


@pytest.mark.parametrize(
    ("wanted", "iss", "says"),
    [
        ("nope", "https://a", "issuer 'nope' is not configured"),
        ("", "https://b", "not open to namespace 'x'"),
        ("", "https://a//", "issuer 'https://a//',"),
    ],
)
def test_why_there_is_no_issuer(wanted: str, iss: str, says: str) -> None:
    assert says in refusal(wanted, iss)


@pytest.mark.parametrize("iss", ["https://unknown:8443/r/x", "/"])
def test_a_token_of_an_unknown_issuer_names_the_configured_ones_and_the_annotation(
    iss: str,
) -> None:
    text = refusal(iss=iss)
    assert "which is not configured" in text
    assert "annotation oauth2.csi.cern.ch/issuer: a (https://a), s (https://s/), " in text
    assert text.endswith("u (https://t/), 1 more")
    assert "https://b" not in text, "it is not open to the namespace"


@pytest.mark.parametrize("text", ["e30.e30.c2ln", "n" * 25, "a\nb"], ids=repr)
def test_a_text_that_is_no_name_is_not_repeated(text: str) -> None:
    """A token that was put into the annotation would be published."""
    told = refusal(wanted=text)
    assert text not in told
    assert told.startswith("the issuer in the Secret's annotation is not configured; ")


@pytest.mark.parametrize(
    "iss",
    [
        *("https://user:password@a", "https://a?token=secret", "https://a#secret"),
        *("https://a/\nb", "https://a/" + "x" * 128, "a text"),
    ],
    ids=lambda iss: repr(iss[:24]),
)
def test_a_claim_that_is_no_plain_url_is_not_repeated(iss: str) -> None:
    told = refusal(iss=iss)
    assert iss not in told
    assert "an issuer whose name is not a plain URL" in told


def test_an_issuer_without_issuer_is_never_chosen_by_an_empty_claim() -> None:
    issuers = parse({"name": "d", "tokenEndpoint": "https://d/token"})
    assert "no issuer is configured as default" in refusal(issuers=issuers)
    assert refusal(issuers=parse()).endswith("none is configured for this namespace")
